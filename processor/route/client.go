package route

import "strings"

// client sorts a user agent into a class that stays the same over versions: the profile of a principal holds classes. It
// returns a constant or a part of the text, so that it costs no memory.
func client(userAgent string) string {
	ua := strings.TrimPrefix(userAgent, "[")
	switch {
	case ua == "":
		return "none"
	case strings.Contains(ua, "Terraform"):
		return "terraform"
	case strings.Contains(ua, "Pulumi"):
		return "pulumi"
	case strings.HasPrefix(ua, "Mozilla/"):
		return "browser"
	case strings.HasPrefix(ua, "S3Console") || ua == "console.amazonaws.com" || ua == "signin.amazonaws.com" || strings.HasPrefix(ua, "AWS Internal"):
		return "console"
	case strings.HasSuffix(ua, ".amazonaws.com"):
		return "aws-service"
	}
	if i := strings.IndexAny(ua, "/ ("); i > 0 {
		ua = ua[:i]
	}
	return ua[:min(len(ua), 64)]
}
