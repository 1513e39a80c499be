package cloudtrail

import "strings"

// MethodNormaliser is the version of the rule by which AppendMethod names methods. State is keyed by method, so a change
// of the rule must raise it: rows that were written under another version no longer fit.
const MethodNormaliser = 1

// AppendMethod appends the event's method, "iam:CreateUser": eventSource without ".amazonaws.com", a colon, and eventName.
//
// Lambda and CloudFront write the API version behind some names (ListFunctions20150331, GetFunction20150331v2,
// CreateFunction2020_05_31), so that one action would be several methods; for these two services it is cut off. No other
// name loses anything, whatever digits it ends in.
func (e *Event) AppendMethod(dst []byte) []byte {
	service := strings.TrimSuffix(e.EventSource, ".amazonaws.com")
	name := e.EventName
	if service == "lambda" || service == "cloudfront" {
		name = name[:len(name)-apiVersionLen(name)]
	}
	dst = append(dst, service...)
	dst = append(dst, ':')
	return append(dst, name...)
}

// apiVersionLen is the length of the API version that name ends in: a date as 20150331 or 2020_05_31, perhaps followed by
// v and digits. It is 0 when there is none, or nothing before it.
func apiVersionLen(name string) int {
	end := len(name)
	for end > 0 && isDigit(name[end-1]) {
		end--
	}
	if end == len(name) || end == 0 || name[end-1] != 'v' {
		end = len(name)
	} else {
		end--
	}
	for _, layout := range [...]string{"yyyymmdd", "yyyy_mm_dd"} {
		if start := end - len(layout); start > 0 && !isDigit(name[start-1]) && isDate(name[start:end], layout) {
			return len(name) - start
		}
	}
	return 0
}

// isDate reports whether s is a day of this century in the layout.
func isDate(s, layout string) bool {
	month, day := 0, 0
	for i := range len(layout) {
		switch layout[i] {
		case '_':
			if s[i] != '_' {
				return false
			}
			continue
		case 'm':
			month = 10*month + int(s[i]) - '0'
		case 'd':
			day = 10*day + int(s[i]) - '0'
		}
		if !isDigit(s[i]) {
			return false
		}
	}
	return s[:2] == "20" && 1 <= month && month <= 12 && 1 <= day && day <= 31
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
