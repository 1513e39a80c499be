package cloudtrail

// The years that an event may be from: AWS did not exist before 2006, and a time past 2200 is a unit error, not a clock.
const (
	firstYear = 2006
	lastYear  = 2200
)

// parseTime reads an eventTime into milliseconds since the Unix epoch. CloudTrail writes 2023-07-10T11:45:02Z; what has
// been through a database or another tool also comes as "2022-12-11 19:42:55", with a fraction of any length (cut to
// milliseconds), with an offset (+11:00, +1100, +11) or with " UTC" behind it. No zone means UTC.
func parseTime(s string) (ms int64, ok bool) {
	if len(s) < len("2006-01-02T15:04:05") || s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	if s[10] != 'T' && s[10] != ' ' && s[10] != 't' {
		return 0, false
	}
	century, year, month, day := pair(s[0], s[1]), pair(s[2], s[3]), pair(s[5], s[6]), pair(s[8], s[9])
	hour, minute, second := pair(s[11], s[12]), pair(s[14], s[15]), pair(s[17], s[18])
	if century|year|month|day|hour|minute|second < 0 {
		return 0, false
	}
	year += 100 * century
	if year < firstYear || year > lastYear || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	ms = (int64(daysSinceEpoch(year, month, day))*86400 + int64(hour*3600+minute*60+second)) * 1000
	rest := s[19:]
	if rest == "Z" {
		return ms, true
	}
	return parseTimeRest(ms, rest)
}

// clock parses times, and remembers the last day, because the next time is almost always of the same.
type clock struct {
	day      [len("2006-01-02T")]byte
	midnight int64 // in milliseconds since the Unix epoch
}

// parse is parseTime.
func (c *clock) parse(s string) (ms int64, ok bool) {
	const usual = len("2006-01-02T15:04:05Z")
	if len(s) == usual && s[:len(c.day)] == string(c.day[:]) && s[13] == ':' && s[16] == ':' && s[19] == 'Z' {
		hour, minute, second := pair(s[11], s[12]), pair(s[14], s[15]), pair(s[17], s[18])
		if hour|minute|second < 0 || hour > 23 || minute > 59 || second > 59 {
			return 0, false
		}
		return c.midnight + int64(hour*3600+minute*60+second)*1000, true
	}
	ms, ok = parseTime(s)
	if ok && len(s) == usual && s[10] == 'T' && s[19] == 'Z' {
		copy(c.day[:], s)
		c.midnight = ms - ms%86_400_000
	}
	return ms, ok
}

// parseTimeRest adds the fraction and takes off the zone that follow the seconds.
func parseTimeRest(ms int64, s string) (int64, bool) {
	if len(s) > 1 && (s[0] == '.' || s[0] == ',') && isDigit(s[1]) {
		unit := int64(100)
		for s = s[1:]; len(s) > 0 && isDigit(s[0]); s = s[1:] {
			ms += int64(s[0]-'0') * unit
			unit /= 10
		}
	}
	switch s {
	case "", "Z", "z", " UTC", " Z":
		return ms, true
	}
	sign := int64(1)
	switch s[0] {
	case '+':
		sign = -1
	case '-':
	default:
		return 0, false
	}
	var hour, minute int
	switch {
	case len(s) == len("+11"):
		hour = pair(s[1], s[2])
	case len(s) == len("+1100"):
		hour, minute = pair(s[1], s[2]), pair(s[3], s[4])
	case len(s) == len("+11:00") && s[3] == ':':
		hour, minute = pair(s[1], s[2]), pair(s[4], s[5])
	default:
		return 0, false
	}
	if hour|minute < 0 || hour > 23 || minute > 59 {
		return 0, false
	}
	return ms + sign*int64(hour*60+minute)*60_000, true
}

// pair reads two digits; it is negative when they are none.
func pair(a, b byte) int {
	a -= '0'
	b -= '0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

// daysBefore[m] is the number of days before the first of month m in a year that is no leap year.
var daysBefore = [...]int{1: 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365}

func isLeap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysIn(year, month int) int {
	if month == 2 && isLeap(year) {
		return 29
	}
	return daysBefore[month+1] - daysBefore[month]
}

// daysSinceEpoch counts from 1970-01-01; year is past 1970.
func daysSinceEpoch(year, month, day int) int {
	before := year - 1
	leapDays := (before/4 - before/100 + before/400) - (1969/4 - 1969/100 + 1969/400)
	days := (year-1970)*365 + leapDays + daysBefore[month] + day - 1
	if month > 2 && isLeap(year) {
		days++
	}
	return days
}
