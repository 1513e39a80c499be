package topics

import "strings"

// attackTools are systems and tools that are made for intrusion, or that hardly anyone but intruders calls AWS with: names of
// clients, or how they begin, in lower case.
var attackTools = [...]string{"pacu", "trufflehog", "cloudfox", "weirdaal", "enumerate-iam", "s3 browser", "stratus-red-team"}

// IsAttackTool says whether a client, as sightings name it, is one that intruders use.
func IsAttackTool(client string) bool {
	tool, system, _ := strings.Cut(strings.ToLower(client), ClientSystem)
	switch system {
	case "kali", "parrot", "pentoo":
		return true
	}
	for _, t := range attackTools {
		if strings.HasPrefix(tool, t) {
			return true
		}
	}
	return false
}
