package main

import "slices"

// world is what kind of organisation is simulated. Rates are for the whole organisation unless they say otherwise.
type world struct {
	name       string
	principals int     // about how many: people and machines
	people     float64 // their share
	offices    int     // countries with an office from the start; half of the people sit in the first
	remote     float64 // share of the people who live where there is no office
	accounts   int
	trips      float64 // trips abroad per person and 60 days, on which they call AWS
	vpn        float64 // share of the people who use a commercial VPN now and then
	joiners    float64 // new people a week
	movers     float64 // people who move to another country, a month
	openings   int     // offices opened
	automation float64 // new machine roles a week
	services   float64 // new services taken into use, a week
	regions    int     // new regions taken into use
	nights     float64 // nights of trouble a week
	wrongHomes float64 // share of the home lines a month that the databases put into a neighbour country for days
	roaming    float64 // share of the people whose mobile sessions come out in another country
	twoHomes   float64 // share of the people with a second home abroad
	duplicates float64 // share of the events that are delivered twice
	incidents  int     // intrusions of each kind
}

// worlds are the organisations; the first four are those to tune by.
var worlds = []world{
	{name: "plain", principals: 1000, people: .55, offices: 1, remote: .10, accounts: 8, trips: 1, vpn: .06, joiners: 3, movers: 1,
		automation: 2, services: 1, regions: 1, nights: 2, incidents: 9},
	{name: "global", principals: 1000, people: .55, offices: 6, remote: .08, accounts: 16, trips: 2, vpn: .08, joiners: 4, movers: 2,
		openings: 1, automation: 3, services: 1, regions: 1, nights: 3, incidents: 9},
	{name: "noisy", principals: 1000, people: .55, offices: 2, remote: .12, accounts: 8, trips: 1.2, vpn: .10, joiners: 3, movers: 1.5,
		openings: 1, automation: 2, services: 1, regions: 1, nights: 3, wrongHomes: .06, roaming: .04, twoHomes: .03, duplicates: .2, incidents: 9},
	{name: "growing", principals: 1000, people: .55, offices: 2, remote: .10, accounts: 12, trips: 1.2, vpn: .07, joiners: 20, movers: 2,
		openings: 3, automation: 5, services: 2, regions: 2, nights: 2, duplicates: .02, incidents: 9},
	{name: "small", principals: 150, people: .75, offices: 1, remote: .15, accounts: 3, trips: 1, vpn: .08, joiners: .7, movers: .3,
		automation: .7, services: .5, regions: 1, nights: 1, incidents: 7},
}

// tuning is how many of the worlds may be looked at while farcall or a baseline is tuned; the others are held out.
const tuning = 4

func worldOf(name string) (world, bool) {
	i := slices.IndexFunc(worlds, func(w world) bool { return w.name == name })
	if i < 0 {
		return world{}, false
	}
	return worlds[i], true
}

// Kinds of what is new and benign.
const (
	ordinary    = "ordinary"
	travel      = "travel"
	vpn         = "vpn exit"
	newOffice   = "new office"
	mover       = "mover"
	automation  = "new automation"
	newService  = "new service"
	newRegion   = "new region"
	night       = "night trouble"
	joiner      = "new staff"
	joinerAway  = "new staff, new country"
	wrongHome   = "geolocation error"
	roaming     = "roaming"
	secondHome  = "second home"
	scannerKind = "scanner"
)

// benignKinds is their order in reports.
var benignKinds = []string{ordinary, travel, vpn, newOffice, mover, automation, newService, newRegion, night, joiner, joinerAway,
	wrongHome, roaming, secondHome, scannerKind}

// Kinds of intrusions.
const (
	farKey       = "stolen key, new country"
	roleOutside  = "role used outside AWS"
	colleagues   = "colleagues' country"
	lowAndSlow   = "low and slow"
	deniedSweep  = "denied sweep"
	hosting      = "hosting country"
	housekeeping = "housekeeping method"
	patient      = "place made to look used"
	patientAway  = "place made to look used, victim away"
	homeCountry  = "victim's own country"
)

// incidentKinds is their order in reports. The last can't be caught by place, and is reported apart.
var incidentKinds = []string{farKey, roleOutside, colleagues, lowAndSlow, deniedSweep, hosting, housekeeping, patient, patientAway, homeCountry}

// The countries that worlds are drawn from. Hosting countries have no offices, so that a VPN exit is never at home by chance.
var (
	officeCountries  = []string{"US", "DE", "GB", "FR", "PL", "IN", "BR", "JP", "ES", "CA", "AU", "IE"}
	remoteCountries  = []string{"PT", "IT", "AT", "DK", "NO", "BE", "CZ", "GR", "MX", "AR", "ZA", "PH", "UA", "TR", "HU", "RS", "CO", "KE"}
	hostingCountries = []string{"NL", "SE", "CH", "RO", "LT", "MD", "BG", "HK", "SG", "IS", "PA", "LV", "EE", "FI", "LU"}
	hubCountries     = []string{"US", "GB", "DE", "FR", "NL", "SG", "JP", "IN", "ES", "IT", "CH", "AE", "IE", "PT", "SE"}
)

// regionsNear is where an organisation runs, by the country of its first office.
var regionsNear = map[string][]string{
	"US": {"us-east-1", "us-west-2", "us-east-2", "eu-west-1"}, "CA": {"ca-central-1", "us-east-1", "us-west-2", "eu-west-1"},
	"BR": {"sa-east-1", "us-east-1", "us-west-2", "eu-west-1"}, "IN": {"ap-south-1", "us-east-1", "ap-southeast-1", "eu-west-1"},
	"JP": {"ap-northeast-1", "us-east-1", "ap-southeast-1", "us-west-2"}, "AU": {"ap-southeast-2", "us-east-1", "ap-southeast-1", "us-west-2"},
	"": {"eu-central-1", "eu-west-1", "us-east-1", "eu-west-2"},
}

// family is a job: the services it works with, most used first.
type family struct {
	name     string
	share    float64
	services []string
	breadth  int // methods of a member's repertoire, about
}

var families = []family{
	{"developer", .40, []string{"ec2", "s3", "lambda", "logs", "dynamodb", "ecr", "ecs", "sqs", "cloudformation", "ssm", "rds", "apigateway", "codebuild", "events"}, 30},
	{"data", .15, []string{"s3", "glue", "athena", "redshift", "sagemaker", "kinesis", "elasticmapreduce", "bedrock"}, 22},
	{"operations", .15, []string{"ec2", "iam", "ssm", "autoscaling", "monitoring", "elasticloadbalancing", "rds", "cloudformation", "route53", "kms", "eks", "backup", "organizations"}, 45},
	{"finance", .08, []string{"ce", "budgets", "cur", "organizations", "health", "support"}, 12},
	{"security", .07, []string{"iam", "guardduty", "cloudtrail", "config", "securityhub", "kms", "access-analyzer", "wafv2", "inspector2", "macie2"}, 35},
	{"support", .15, []string{"ec2", "logs", "monitoring", "support", "rds", "s3", "sqs", "health"}, 18},
}

// chores are what clients and the console call on their own, for everybody.
var chores = []string{"sts:GetCallerIdentity", "s3:ListBuckets", "ec2:DescribeRegions", "iam:ListAccountAliases", "health:DescribeEventAggregates",
	"signin:ConsoleLogin", "ec2:DescribeInstances", "ec2:DescribeAccountAttributes", "kms:ListAliases",
	"sts:AssumeRole", "cloudtrail:LookupEvents"}

// freshServices are those that an organisation may take into use.
var freshServices = []string{"qldb", "timestream", "kendra", "comprehend", "rekognition", "textract", "translate", "datasync", "amplify", "connect",
	"iot", "pinpoint", "kafka", "transfer", "appsync"}

// Clients, as their user agents: of people, of machines, of intruders.
var (
	peopleClients = []string{
		"aws-cli/2.17.9 md/awscrt#0.20.11 ua/2.0 os/macos#23.5.0 md/arch#arm64 lang/python#3.11.9 cfg/retry-mode#standard md/prompt#off md/command#ec2.describe-instances",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
		"APN/1.0 HashiCorp/1.0 Terraform/1.9.2 (+https://www.terraform.io) terraform-provider-aws/5.58.0 aws-sdk-go-v2/1.30.1 os/macos",
		"Boto3/1.34.144 md/Botocore#1.34.144 ua/2.0 os/linux#6.8.0 md/arch#x86_64 lang/python#3.12.3 cfg/retry-mode#legacy Botocore/1.34.144",
		"aws-sdk-js/3.609.0 ua/2.0 os/darwin#23.5.0 lang/js md/nodejs#20.15.0 api/s3#3.609.0",
	}
	machineClients = []string{
		"aws-sdk-go-v2/1.30.1 os/linux lang/go#1.22.4 md/GOOS#linux md/GOARCH#amd64 api/s3#1.57.1",
		"Boto3/1.34.140 md/Botocore#1.34.140 ua/2.0 os/linux#5.10.219 md/arch#x86_64 lang/python#3.11.6 exec-env/AWS_ECS_EC2 Botocore/1.34.140",
		"aws-sdk-java/2.26.12 Linux/5.10.218 OpenJDK_64-Bit_Server_VM/21.0.3 Java/21.0.3 vendor/Amazon.com_Inc. io/sync http/Apache",
		"aws-sdk-js/3.600.0 ua/2.0 os/linux#5.10.218 lang/js md/nodejs#18.20.3 exec-env/AWS_Lambda_nodejs18.x",
	}
	intruderClients = []string{
		"aws-cli/2.15.30 Python/3.11.8 Linux/6.6.15-amd64 exe/x86_64.kali.2024 prompt/off command/sts.get-caller-identity",
		"Boto3/1.28.4 md/Botocore#1.31.4 ua/2.0 os/linux#6.1.0 md/arch#x86_64 lang/python#3.9.2 cfg/retry-mode#legacy Botocore/1.31.4",
		"aws-sdk-go/1.44.266 (go1.20.4; linux; amd64)",
		"S3 Browser/11.6.7 (https://s3browser.com)",
		"python-requests/2.31.0",
		"Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
	}
)
