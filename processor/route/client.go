package route

import (
	"strings"

	"github.com/farcall/farcall/topics"
)

// clients names the client behind each user agent. Streams have few user agents, and naming one takes longer than all else that
// route does with an event but decoding: so it remembers them, up to maxClients, and then begins anew.
type clients map[string]string

const maxClients = 4096

// name sorts a user agent into a tool and the system it runs on, which stay the same over versions: "aws-cli on linux", or the
// tool alone where the text has no system. It does not keep userAgent.
func (c clients) name(userAgent string) string {
	if n, ok := c[userAgent]; ok {
		return n
	}
	ua, bracketed := strings.CutPrefix(userAgent, "[")
	if bracketed {
		ua = strings.TrimSuffix(ua, "]")
	}
	n := toolOf(ua)
	if system := systemOf(ua); system != "" {
		n += topics.ClientSystem + system
	}
	if len(c) >= maxClients {
		clear(c)
	}
	n = strings.Clone(n)
	c[strings.Clone(userAgent)] = n
	return n
}

func toolOf(ua string) string {
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
	case strings.HasPrefix(ua, "S3 Browser"):
		return "S3 Browser"
	}
	if i := strings.IndexAny(ua, "/ ("); i > 0 {
		ua = ua[:i]
	}
	return ua[:min(len(ua), 64)]
}

// systems are the marks of operating systems in the user agents of AWS's own tools and of browsers. The first that is found
// counts: Android names Linux too.
var systems = [...]struct{ mark, name string }{
	{"Android", "android"}, {"iPhone", "ios"}, {"iPad", "ios"}, {"kali", "kali"}, {"parrot", "parrot"}, {"pentoo", "pentoo"},
	{"Windows", "windows"}, {"windows", "windows"}, {"Macintosh", "macos"}, {"Darwin", "macos"}, {"macos", "macos"}, {"darwin", "macos"},
	{"amzn", "amazon-linux"}, {"Linux", "linux"}, {"linux", "linux"},
}

func systemOf(ua string) string {
	for i := range systems {
		if strings.Contains(ua, systems[i].mark) {
			return systems[i].name
		}
	}
	return ""
}
