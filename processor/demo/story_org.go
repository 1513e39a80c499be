package demo

import (
	"fmt"
	"strings"
)

// Account is one AWS account of an invented organisation.
type Account struct{ ID, Name string }

// Organisation says whose CloudTrail a story tells.
type Organisation struct {
	Name     string
	Offices  [2]string // countries of the main and the branch office, ISO 3166-1 alpha-2
	Accounts []Account
	People   int // persons, most of them behind shared SSO roles
	Machines int // roles and users of machines, an account's counted apart
}

// The accounts by index.
const (
	accountProduction = iota
	accountStaging
	accountData
	accountShared
	accountCount
)

// organisation is everything about an organisation that does not change with time.
type organisation struct {
	name     string
	offices  [2]string
	regions  [regionCount]string
	accounts [accountCount]Account
	people   []*person
	machines []*machine
	values   [slotCount][]string
	salt     uint64
}

// A permissionSet is an SSO role that many people share.
type permissionSet struct {
	name   string
	heads  [2]int // people in the main and the branch office
	chores []chore
	// accounts in which its people work, the usual first
	accounts []int
	// cli is the mean share of work that is done outside the console
	cli float64
	// denials is the share of its calls that a policy refuses
	denials float64
}

type chore struct {
	task   string
	weight int
}

var permissionSets = []permissionSet{
	{"AdministratorAccess", [2]int{5, 2}, []chore{{"ec2", 10}, {"vpc", 7}, {"s3", 8}, {"iam", 14}, {"users", 7}, {"roles", 7},
		{"security", 9}, {"stacks", 6}, {"secrets", 8}, {"shell", 6}, {"launch", 5}, {"dns", 4}, {"rds", 4}, {"accounts", 5},
		{"logs", 6}, {"rotate", 3}, {"lambda", 3}, {"containers", 4}, {"metrics", 4}},
		[]int{accountShared, accountProduction, accountStaging}, 0.45, 0.001},
	{"PowerUserAccess", [2]int{17, 9}, []chore{{"ec2", 11}, {"logs", 13}, {"lambda", 11}, {"metrics", 8}, {"containers", 12},
		{"queues", 10}, {"s3", 10}, {"secrets", 9}, {"stacks", 8}, {"rds", 6}, {"launch", 6}, {"shell", 5}, {"vpc", 3}},
		[]int{accountStaging, accountProduction}, 0.5, 0.006},
	{"ReadOnlyAccess", [2]int{8, 4}, []chore{{"ec2", 12}, {"logs", 16}, {"metrics", 14}, {"s3", 8}, {"lambda", 6}, {"containers", 8},
		{"rds", 6}, {"security", 6}, {"queues", 8}, {"vpc", 5}, {"stacks", 2}},
		[]int{accountProduction, accountStaging}, 0.15, 0.02},
	{"DataEngineer", [2]int{5, 2}, []chore{{"catalog", 20}, {"queries", 26}, {"s3", 14}, {"logs", 7}, {"secrets", 6}, {"lambda", 5}, {"metrics", 4}},
		[]int{accountData, accountStaging}, 0.4, 0.008},
	{"Billing", [2]int{2, 2}, []chore{{"costs", 40}, {"accounts", 10}, {"metrics", 4}},
		[]int{accountShared}, 0, 0.004},
}

// userChores is what the few people do who still have an IAM user of their own.
var userChores = []chore{{"store", 10}, {"s3", 6}, {"ec2", 6}, {"logs", 6}, {"secrets", 5}, {"launch", 4}, {"iam", 4}, {"lambda", 4}}

// person works in office hours, from an office or from home.
type person struct {
	name, mail string
	user       string // name of the person's IAM user, empty for those who come through SSO
	set        *permissionSet
	chores     []chore
	weights    int // sum of the chores' weights
	office     int
	accounts   []int
	start, day int64 // first hour of work and hours of work, local
	atHome     float64
	cli        float64
	desk, home string
	browser    string
	shell      string
	trip       trip
	leaves     int64 // hour since the epoch from which the person makes no calls by habit; 0 for never
	salt       uint64
}

// trip is a stay abroad, in hours since the epoch; during it a person works from there.
type trip struct {
	from, to int64
	address  string
}

// machineKind says how a machine proves who it is.
type machineKind uint8

const (
	instanceRole machineKind = iota // role of EC2 instances
	serviceRole                     // role of a container, a function or a provider
	staticUser                      // IAM user with a key that never changes
	linkedRole                      // role that an AWS service uses in the organisation's name
	amazonItself                    // AWS service acting for itself
	webIdentity                     // not yet anyone: it asks for credentials with a token from elsewhere
)

// machine calls at all hours, or in those of the offices.
type machine struct {
	kind      machineKind
	role      string // role or user name; the calling service of linkedRole and amazonItself
	account   int
	region    int
	agent     string
	hosts     []host
	jobs      []job
	endpoint  string
	failing   float64
	denials   float64
	officeDay bool
	salt      uint64
}

type host struct{ name, address string }

// job is a task that each host of a machine does some times an hour.
type job struct {
	task    string
	perHour float64
}

var (
	orgNames   = []string{"Tannwick", "Oderlund", "Kestrelholm", "Marlfjord", "Quellhof", "Brinkvale", "Veldkiel", "Ostermole"}
	firstNames = []string{"ana", "bram", "carla", "dirk", "elif", "femke", "greta", "henrik", "ines", "joost", "katrin", "lars", "marta",
		"niels", "olga", "paulo", "rita", "sander", "tilda", "ulrich", "vera", "willem", "yara", "zofia"}
	lastNames = []string{"almeida", "bakker", "costa", "dekker", "engel", "fischer", "gruber", "haas", "jansen", "keller", "lindner", "maier",
		"nowak", "pereira", "roth", "santos", "thielen", "visser", "wagner", "zielinski"}

	browsers = []string{
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
		"Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
	}
	shells = []string{
		"aws-cli/2.31.18 md/awscrt#0.27.6 ua/2.1 os/macos#25.1.0 md/arch#arm64 lang/python#3.13.7 md/pyimpl#CPython m/g,Z,b,E cfg/retry-mode#standard md/installer#exe md/prompt#off",
		"aws-cli/2.30.7 md/awscrt#0.27.6 ua/2.1 os/windows#11 md/arch#amd64 lang/python#3.13.7 md/pyimpl#CPython m/b,g,E cfg/retry-mode#standard md/installer#exe md/prompt#off",
		"Boto3/1.40.61 md/Botocore#1.40.61 ua/2.1 os/linux#6.12.48 md/arch#x86_64 lang/python#3.12.11 md/pyimpl#CPython m/b,Z,e cfg/retry-mode#legacy Botocore/1.40.61",
		"APN/1.0 HashiCorp/1.0 Terraform/1.13.4 (+https://www.terraform.io) terraform-provider-aws/6.18.0 (+https://registry.terraform.io/providers/hashicorp/aws) aws-sdk-go-v2/1.39.4 ua/2.1 os/macos lang/go#1.24.8 md/GOOS#darwin md/GOARCH#arm64 m/g",
	}
)

const (
	agentJava      = "aws-sdk-java/2.37.2 md/io#sync md/http#Apache ua/2.1 api/Multi#2.37.x os/Linux#6.1.155-176.282.amzn2023.x86_64 lang/java#21.0.8 md/OpenJDK_64-Bit_Server_VM#21.0.8+9-LTS md/vendor#Amazon.com_Inc. m/D,b"
	agentSSM       = "aws-sdk-go/1.55.5 (go1.24.6; linux; amd64) amazon-ssm-agent/3.3.2299.0"
	agentNode      = "aws-sdk-go-v2/1.39.2 ua/2.1 os/linux lang/go#1.24.7 md/GOOS#linux md/GOARCH#amd64 exec-env/EKS m/E,g"
	agentLambda    = "Boto3/1.40.55 md/Botocore#1.40.55 ua/2.1 os/linux#5.10.244 md/arch#x86_64 lang/python#3.13.7 md/pyimpl#CPython exec-env/AWS_Lambda_python3.13 m/Z,b cfg/retry-mode#legacy Botocore/1.40.55"
	agentAirflow   = "Boto3/1.39.11 md/Botocore#1.39.11 ua/2.1 os/linux#5.10.240 md/arch#x86_64 lang/python#3.12.11 md/pyimpl#CPython exec-env/AWS_ECS_FARGATE m/Z,b cfg/retry-mode#legacy Botocore/1.39.11"
	agentCI        = "aws-cli/2.31.22 md/awscrt#0.28.1 ua/2.1 os/linux#6.14.0-1014 md/arch#x86_64 lang/python#3.13.9 md/pyimpl#CPython exec-env/ci-runner m/E,b,Z,g cfg/retry-mode#standard md/installer#exe md/distrib#ubuntu.24 md/prompt#off"
	agentTerraform = "APN/1.0 HashiCorp/1.0 Terraform/1.13.4 (+https://www.terraform.io) terraform-provider-aws/6.18.0 (+https://registry.terraform.io/providers/hashicorp/aws) aws-sdk-go-v2/1.39.4 ua/2.1 os/linux lang/go#1.24.8 md/GOOS#linux md/GOARCH#amd64 m/g"
	agentPosture   = "PostureScout/4.18 Boto3/1.40.49 md/Botocore#1.40.49 ua/2.1 os/linux#6.1.153 md/arch#aarch64 lang/python#3.12.11 md/pyimpl#CPython m/Z,b,E cfg/retry-mode#adaptive Botocore/1.40.49"
	agentObserve   = "aws-sdk-go-v2/1.38.3 ua/2.1 os/linux lang/go#1.24.6 md/GOOS#linux md/GOARCH#amd64 app/metric-crawler m/E,n"
	agentSync      = "Boto3/1.38.27 md/Botocore#1.38.27 ua/2.1 os/windows#2022Server md/arch#amd64 lang/python#3.11.9 md/pyimpl#CPython m/n,Z cfg/retry-mode#legacy Botocore/1.38.27"
	agentStore     = "S3Manager/5.9, aws-sdk-java/1.12.792 Linux/5.10.60-qnap OpenJDK_64-Bit_Server_VM/17.0.15+6 java/17.0.15 vendor/Eclipse_Adoptium cfg/retry-mode/legacy"
)

func newOrganisation(seed uint64) *organisation {
	d := dice(mix(seed, 0x0f61))
	o := &organisation{salt: seed, name: pick(&d, orgNames), offices: pick(&d, officePairs)}
	o.regions = [regionCount]string{"eu-central-1", "eu-west-1", "us-east-1"}
	if d.chance(0.3) {
		o.regions[regionHome], o.regions[regionSecond] = o.regions[regionSecond], o.regions[regionHome]
	}
	for i, name := range [accountCount]string{"production", "staging", "data", "shared-services"} {
		o.accounts[i] = Account{fmt.Sprintf("%012d", 100_000_000_000+d.below(900_000_000_000)), name}
	}
	o.hire(&d)
	o.install(&d)
	o.fillValues(&d)
	return o
}

// hire makes the people.
func (o *organisation) hire(d *dice) {
	var desks [2][]string
	for i, country := range o.offices {
		desks[i] = []string{hostIn(d, country, 0), hostIn(d, country, 1)}
	}
	taken := map[string]bool{}
	newPerson := func(office int) *person {
		p := &person{office: office, salt: d.next()}
		for p.name == "" || taken[p.name] {
			p.name = pick(d, firstNames) + "." + pick(d, lastNames)
		}
		taken[p.name] = true
		p.mail = p.name + "@example.com"
		p.start, p.day = 7+int64(d.below(3)), 8+int64(d.below(2))
		p.desk = pick(d, desks[office])
		country := o.offices[office]
		if p.home = hostIn(d, country, 2+d.below(10)); d.chance(0.08) {
			p.home = hostIn6(d, country)
		}
		switch x := d.share(); {
		case x < 0.15:
			p.atHome = 1
		case x < 0.6:
			p.atHome = 0.2 + 0.4*d.share()
		}
		p.browser, p.shell = pick(d, browsers), pick(d, shells)
		return p
	}
	for i := range permissionSets {
		set := &permissionSets[i]
		for office, n := range set.heads {
			for range n {
				p := newPerson(office)
				p.set, p.chores, p.accounts = set, set.chores, set.accounts
				if len(p.accounts) > 2 {
					p.accounts = []int{p.accounts[0], p.accounts[1+d.below(len(p.accounts)-1)]}
				}
				p.cli = min(set.cli*(0.4+1.2*d.share()), 0.95)
				o.people = append(o.people, p)
			}
		}
	}
	for i := range 5 {
		p := newPerson(i % 2)
		p.user, p.chores, p.accounts, p.cli = p.name, userChores, []int{accountStaging}, 0.7
		o.people = append(o.people, p)
	}
	for _, p := range o.people {
		for _, c := range p.chores {
			p.weights += c.weight
		}
	}
}

// install makes the machines.
func (o *organisation) install(d *dice) {
	add := func(m machine, hosts int, name func() string) *machine {
		m.salt = d.next()
		for range hosts {
			m.hosts = append(m.hosts, host{name(), amazonAddress(d, o.regions[m.region])})
		}
		o.machines = append(o.machines, &m)
		return &m
	}
	instance := func() string { return string(appendHex([]byte("i-0"), d.next(), 16)) }
	container := func() string { return string(appendHex(appendHex(nil, d.next(), 16), d.next(), 16)) }
	named := func(s string) func() string { return func() string { return s } }

	add(machine{kind: instanceRole, role: "web-api-instance", account: accountProduction, agent: agentJava, failing: 0.003,
		jobs: []job{{"config", 0.7}, {"work", 0.6}, {"agent", 1}}}, 4, instance)
	add(machine{kind: instanceRole, role: "order-worker-instance", account: accountProduction, agent: agentJava, failing: 0.003,
		jobs: []job{{"config", 0.6}, {"work", 0.7}, {"agent", 1}, {"identify", 0.2}, {"objects", 0.4}}}, 3, instance)
	add(machine{kind: instanceRole, role: "web-api-staging", account: accountStaging, agent: agentJava, failing: 0.01,
		jobs: []job{{"config", 0.5}, {"work", 0.3}, {"agent", 1}}}, 2, instance)
	add(machine{kind: instanceRole, role: "etl-batch-instance", account: accountData, agent: agentJava, failing: 0.004,
		jobs: []job{{"objects", 0.55}, {"catalog", 0.2}, {"config", 0.25}, {"agent", 0.5}}}, 3, instance)
	add(machine{kind: instanceRole, role: "eks-node-group", account: accountProduction, agent: agentNode, failing: 0.002,
		jobs: []job{{"node", 0.5}, {"agent", 0.5}}}, 4, instance)
	add(machine{kind: instanceRole, role: "bastion", account: accountShared, agent: agentSSM,
		jobs: []job{{"agent", 1}, {"config", 0.2}}}, 1, instance)
	add(machine{kind: serviceRole, role: "airflow-task", account: accountData, agent: agentAirflow, failing: 0.004,
		jobs: []job{{"queries", 0.4}, {"catalog", 0.3}, {"objects", 0.3}, {"config", 0.3}}}, 2, container)
	add(machine{kind: serviceRole, role: "payments-function", account: accountProduction, agent: agentLambda, failing: 0.004,
		jobs: []job{{"config", 1.5}, {"work", 0.5}}}, 1, named("payments-capture"))
	add(machine{kind: serviceRole, role: "thumbnails-function", account: accountProduction, region: regionSecond, agent: agentLambda, failing: 0.004,
		jobs: []job{{"objects", 0.7}, {"config", 0.3}}}, 1, named("media-thumbnails"))
	add(machine{kind: serviceRole, role: "backup-orchestrator", account: accountProduction, agent: agentLambda,
		jobs: []job{{"backup", 0.8}}}, 1, named("backup-orchestrator"))
	add(machine{kind: serviceRole, role: "cost-collector", account: accountShared, agent: agentLambda,
		jobs: []job{{"costs", 0.25}, {"accounts", 0.3}}}, 1, named("cost-collector"))
	m := add(machine{kind: serviceRole, role: "log-shipper", account: accountProduction, agent: agentNode,
		jobs: []job{{"ship", 0.8}, {"upload", 0.3}}}, 2, container)
	m.endpoint = string(appendHex([]byte("vpce-0"), d.next(), 16))
	for i := range m.hosts {
		m.hosts[i].address = fmt.Sprintf("10.20.%d.%d", d.below(64), 4+d.below(250))
	}

	runners := []host{{"", amazonAddress(d, o.regions[regionSecond])}, {"", amazonAddress(d, o.regions[regionSecond])}}
	scouts := []string{amazonAddress(d, o.regions[regionGlobal]), amazonAddress(d, o.regions[regionGlobal])}
	crawler := amazonAddress(d, o.regions[regionGlobal])
	pipeline := fmt.Sprintf("ci-pipeline-%d", 1000+d.below(9000))
	for a := range accountCount {
		if a != accountShared {
			m := add(machine{kind: serviceRole, role: "ci-deploy", account: a, agent: agentCI, officeDay: true, failing: 0.006,
				jobs: []job{{"release", 0.35}, {"identify", 0.3}, {"bake", 0.12}}}, 0, nil)
			m.hosts = []host{{pipeline, runners[0].address}, {pipeline, runners[1].address}}
			m = add(machine{kind: webIdentity, role: "ci-deploy", account: a, agent: agentCI, officeDay: true,
				jobs: []job{{"token", 0.9}}}, 0, nil)
			m.hosts = []host{{pipeline, runners[0].address}}
		}
		m := add(machine{kind: serviceRole, role: "terraform-runner", account: a, agent: agentTerraform, failing: 0.01,
			jobs: []job{{"plan", 0.25}, {"roles", 0.05}, {"users", 0.03}}}, 0, nil)
		m.hosts = []host{{"terraform-run", runners[1].address}}
		m = add(machine{kind: serviceRole, role: "CloudPostureAudit", account: a, agent: agentPosture, failing: 0.02, denials: 0.5,
			jobs: []job{{"posture", 0.22}}}, 0, nil)
		m.hosts = []host{{"posture-scout", scouts[0]}, {"posture-scout", scouts[1]}}
		m = add(machine{kind: serviceRole, role: "ObservabilityReader", account: a, agent: agentObserve, failing: 0.01,
			jobs: []job{{"observe", 0.5}}}, 0, nil)
		m.hosts = []host{{"metric-crawler", crawler}}

		add(machine{kind: linkedRole, role: "config", account: a, jobs: []job{{"recorder", 0.25}}}, 0, nil).
			hosts = []host{{"configLambdaExecution", "config.amazonaws.com"}}
		add(machine{kind: amazonItself, role: "cloudtrail", account: a, jobs: []job{{"trail", 2}}}, 0, nil).
			hosts = []host{{"", "cloudtrail.amazonaws.com"}}
		add(machine{kind: amazonItself, role: "delivery.logs", account: a, jobs: []job{{"delivery", 1.5}}}, 0, nil).
			hosts = []host{{"", "delivery.logs.amazonaws.com"}}
		add(machine{kind: amazonItself, role: "ec2", account: a, jobs: []job{{"assume", 1.5}}}, 0, nil).
			hosts = []host{{"", "ec2.amazonaws.com"}}
		add(machine{kind: amazonItself, role: "lambda", account: a, jobs: []job{{"assume", 1}}}, 0, nil).
			hosts = []host{{"", "lambda.amazonaws.com"}}
		add(machine{kind: amazonItself, role: "secretsmanager", account: a, jobs: []job{{"rotation", 0.03}}}, 0, nil).
			hosts = []host{{"", "secretsmanager.amazonaws.com"}}
		add(machine{kind: amazonItself, role: "kms", account: a, jobs: []job{{"rekey", 0.01}}}, 0, nil).
			hosts = []host{{"", "AWS Internal"}}
	}
	add(machine{kind: linkedRole, role: "autoscaling", account: accountProduction, jobs: []job{{"scaling", 1.2}}}, 0, nil).
		hosts = []host{{"AutoScaling", "autoscaling.amazonaws.com"}}
	add(machine{kind: linkedRole, role: "ssm", account: accountProduction, jobs: []job{{"decrypt", 1.5}}}, 0, nil).
		hosts = []host{{"SystemsManager", "AWS Internal"}}

	// Servers in the offices' own racks, which use long-lived keys.
	rack := func(office int) string { return hostIn(d, o.offices[office], 1) }
	for _, a := range []int{accountProduction, accountStaging, accountShared} {
		add(machine{kind: staticUser, role: "svc-identity-sync", account: a, agent: agentSync, failing: 0.004,
			jobs: []job{{"sync", 0.6}, {"join", 0.4}, {"leave", 0.15}}}, 0, nil).hosts = []host{{"", rack(0)}}
		add(machine{kind: staticUser, role: "svc-access-portal", account: a, agent: agentSync, failing: 0.004,
			jobs: []job{{"identify", 0.4}, {"join", 0.25}, {"leave", 0.1}, {"iam", 0.15}}}, 0, nil).hosts = []host{{"", rack(1)}}
	}
	add(machine{kind: staticUser, role: "svc-office-backup", account: accountProduction, agent: agentStore, failing: 0.004,
		jobs: []job{{"store", 1}}}, 0, nil).hosts = []host{{"", rack(0)}}
	add(machine{kind: staticUser, role: "svc-office-backup", account: accountData, agent: agentStore, failing: 0.004,
		jobs: []job{{"store", 0.9}}}, 0, nil).hosts = []host{{"", rack(1)}}
}

// fillValues makes the names that records mention.
func (o *organisation) fillValues(d *dice) {
	slug := strings.ToLower(o.name)
	for _, s := range []string{"access-logs", "artifacts", "assets", "backups", "billing-export", "data-lake", "exports", "invoices",
		"landing-zone", "media", "org-trail", "reports", "static-site", "terraform-state", "uploads"} {
		o.values[slotBucket] = append(o.values[slotBucket], slug+"-"+s, slug+"-staging-"+s)
	}
	for range 40 {
		o.values[slotUser] = append(o.values[slotUser], pick(d, firstNames)+"."+pick(d, lastNames))
	}
	for range 6 {
		o.values[slotKMSKey] = append(o.values[slotKMSKey], string(appendUUID(nil, d.next(), d.next())))
	}
	for _, m := range o.machines {
		if m.kind == instanceRole || m.kind == serviceRole {
			o.values[slotRole] = append(o.values[slotRole], m.role)
		}
	}
	o.values[slotSecret] = []string{"orders/database", "payments/gateway-token", "web/session-key", "reports/smtp", "etl/warehouse", "media/cdn-signer"}
	o.values[slotFunction] = []string{"orders-intake", "payments-capture", "media-thumbnails", "invoice-render", "stock-sync", "mail-dispatch", "search-index", "audit-export"}
	o.values[slotTable] = []string{"orders", "customers", "carts", "payments", "stock", "shipments", "page_views", "refunds"}
	o.values[slotGroup] = []string{"platform", "checkout", "catalogue", "analytics", "mobile", "support"}
	o.values[slotPath] = []string{"raw", "curated", "daily", "snapshots", "releases", "events"}
	o.values[slotDatabase] = []string{"orders-primary", "orders-replica", "reports", "identity"}
	o.values[slotSize] = []string{"t3.medium", "t3.large", "m7i.large", "c7i.xlarge"}
}

// count returns how many people there are, and how many roles and users of machines.
func (o *organisation) count() (people, machines int) {
	for _, m := range o.machines {
		if m.kind == instanceRole || m.kind == serviceRole || m.kind == staticUser {
			machines++
		}
	}
	return len(o.people), machines
}
