package topics

import "testing"

func TestIsAttackTool(t *testing.T) {
	for client, want := range map[string]bool{
		"aws-cli on kali": true, "Boto3 on parrot": true, "TruffleHog": true, "pacu on linux": true, "S3 Browser on windows": true,
		"aws-cli on linux": false, "browser on macos": false, "kali": false, "terraform": false, "": false,
	} {
		if got := IsAttackTool(client); got != want {
			t.Errorf("%q: %v", client, got)
		}
	}
}
