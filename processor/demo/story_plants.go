package demo

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Kind says whether a plant ought to be alerted on.
type Kind uint8

const (
	Intrusion Kind = iota
	Benign         // an alert on it is a false alarm
)

func (k Kind) String() string {
	if k == Benign {
		return "benign"
	}
	return "intrusion"
}

// Plant is something of note that happens in the live part of a story.
type Plant struct {
	Name  string // "stolen user key"
	Story string // one sentence
	Kind  Kind
	// Principal is spelled as an Event's; empty where the calls are those of many.
	Principal string
	// Country is where the calls came from: ISO 3166-1 alpha-2, aws:<region>, or empty where they had no address.
	Country string
	Methods []string // in order of first use
	First   time.Time
	// EventIDs are those of its calls, in order of event time.
	EventIDs []string
}

// planter puts the plants among the live calls.
type planter struct {
	*traffic
	dice   dice
	begin  int64 // Unix milliseconds
	chosen []*person
	out    []Plant
}

// plant makes the live part of the story.
func (s *Story) plant(seed uint64) {
	p := planter{traffic: newTraffic(s.org), dice: dice(mix(seed, 0x97a7)), begin: s.end * hourMillis}
	travel := slices.Clone(travelCountries)
	hosting, far := slices.Clone(hostingCountries), slices.Clone(farCountries)
	visited := p.sendAbroad(s, &travel)

	var traveller *person
	if seed%2 == 1 {
		traveller = p.staffOf("PowerUserAccess", 0)
		traveller.leaves = s.end - 12 // the evening before
	}
	stop := p.begin + LiveSpan.Milliseconds()
	for h := s.end; h*hourMillis < stop; h++ {
		p.hour(h)
	}
	p.calls = slices.DeleteFunc(p.calls, func(c call) bool { return c.at >= stop })

	p.lateFile()
	p.lowAndSlow(take(&p.dice, &far))
	p.newMethod()
	p.stolenUserKey(take(&p.dice, &far))
	p.pipelineBurst()
	p.deniedSweep(take(&p.dice, &far))
	p.newService()
	p.instanceCredentials(take(&p.dice, &far))
	p.hijackedSession(take(&p.dice, &hosting))
	if traveller != nil {
		p.traveller(traveller, visited)
	}

	p.schedule(0)
	s.live, s.plants = p.calls, p.out
	slices.SortFunc(s.plants, func(a, b Plant) int { return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Name, b.Name)) })
}

// sendAbroad gives two people a trip in the first third of history and returns the country of the longer.
func (p *planter) sendAbroad(s *Story, travel *[]string) string {
	var country string
	for i, set := range []string{"ReadOnlyAccess", "PowerUserAccess"} {
		country = take(&p.dice, travel)
		// A day later where the trip would begin on a weekend.
		from := s.begin/24 + 3 + int64(3*i+p.dice.below(2))
		for (from+3)%7 >= 5 {
			from++
		}
		p.staffOf(set, i).trip = trip{from * 24, (from + 1 + int64(i)) * 24, hostIn(&p.dice, country, p.dice.below(4))}
	}
	return country
}

// staffOf returns someone of a permission set who works at an office and has no part in the story yet.
func (p *planter) staffOf(set string, office int) *person {
	var l []*person
	for _, x := range p.org.people {
		if x.set != nil && x.set.name == set && x.office == office && !slices.Contains(p.chosen, x) {
			l = append(l, x)
		}
	}
	x := pick(&p.dice, l)
	p.chosen = append(p.chosen, x)
	return x
}

func (p *planter) machineOf(role string, account int) *machine {
	for _, m := range p.org.machines {
		if m.role == role && m.account == account && m.kind != webIdentity {
			return m
		}
	}
	panic(fmt.Sprintf("demo: no machine %q in account %d", role, account))
}

// at returns a moment a number of minutes into the live part, give or take three.
func (p *planter) at(minute int) int64 {
	return p.begin + int64(minute)*60_000 + int64(p.dice.below(360_000)) - 180_000
}

func hourOf(at int64) int64 { return at / hourMillis }

// elsewhere is a session used from another address by another client.
func (s *session) elsewhere(address, agent string) *session {
	c := *s
	c.address, c.agent, c.failing, c.denials, c.endpoint = address, agent, 0, 0, ""
	return &c
}

// play adds calls of one session to methods, the first at a moment and each later one after a pause between least and most,
// and takes them down as a plant.
func (p *planter) play(plant Plant, s *session, methods []*method, at int64, least, most time.Duration, f fault) {
	from := len(p.calls)
	for _, m := range methods {
		c := p.add(&p.dice, m, s, at)
		if m.key != "sts:GetCallerIdentity" {
			c.fault = f
		}
		at += least.Milliseconds() + int64(p.dice.below(int((most - least).Milliseconds())))
	}
	p.note(plant, p.calls[from:])
}

// note takes calls, which are in order of time, down as a plant.
func (p *planter) note(plant Plant, calls []call) {
	plant.First = time.UnixMilli(calls[0].at).UTC().Truncate(time.Second)
	for i := range calls {
		plant.EventIDs = append(plant.EventIDs, string(calls[i].appendEventID(nil)))
		if m := calls[i].do.key; !slices.Contains(plant.Methods, m) {
			plant.Methods = append(plant.Methods, m)
		}
	}
	p.out = append(p.out, plant)
}

func (p *planter) ssoPrincipal(x *person, account int) string {
	return p.org.accounts[account].ID + "/sso/" + p.org.ssoRole(x.set.name, account) + "/" + x.mail
}

const (
	agentIntruder  = "Boto3/1.34.46 md/Botocore#1.34.46 ua/2.0 os/linux#6.6.15-amd64 md/arch#x86_64 lang/python#3.11.8 md/pyimpl#CPython cfg/retry-mode#legacy Botocore/1.34.46"
	agentIntruder2 = "aws-cli/2.17.9 md/awscrt#0.20.11 ua/2.0 os/linux#5.15.0-113-generic md/arch#x86_64 lang/python#3.11.8 md/pyimpl#CPython cfg/retry-mode#standard md/installer#exe md/prompt#off"
	agentIntruder3 = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
)

func (p *planter) stolenUserKey(country string) {
	var users []*person
	for _, x := range p.org.people {
		if x.user != "" {
			users = append(users, x)
		}
	}
	victim, at := pick(&p.dice, users), p.at(25)
	s := p.staff(victim, victim.desk, accountStaging, false, hourOf(at)).elsewhere(hostIn(&p.dice, country, 0), agentIntruder)
	p.play(Plant{
		Name: "stolen user key", Kind: Intrusion, Country: country,
		Principal: p.org.accounts[accountStaging].ID + "/user/" + victim.user,
		Story: fmt.Sprintf("The access key of IAM user %s turns up in %s, looks around and makes itself a user of its own.",
			victim.user, country),
	}, s, methodsOf(`sts:GetCallerIdentity iam:ListUsers ListGroupsForUser ListAttachedUserPolicies GetUser s3:ListBuckets GetBucketAcl
		iam:ListUsers CreateUser CreateLoginProfile AttachUserPolicy CreateAccessKey ListAccessKeys`), at, 8*time.Second, 70*time.Second, faultNone)
}

func (p *planter) instanceCredentials(country string) {
	at := p.at(80)
	m := p.machineOf("order-worker-instance", accountProduction)
	s := p.host(m, p.dice.below(len(m.hosts)), hourOf(at)).elsewhere(hostIn(&p.dice, country, 1), agentIntruder2)
	p.play(Plant{
		Name: "instance credentials used outside", Kind: Intrusion, Country: country,
		Principal: p.org.accounts[accountProduction].ID + "/role/" + m.role,
		Story: fmt.Sprintf("Credentials taken from instance %s of role %s are used from %s to read secrets and buckets.",
			s.self, m.role, country),
	}, s, methodsOf(`sts:GetCallerIdentity s3:ListBuckets GetBucketLocation ListObjects GetObject GetObject secretsmanager:ListSecrets
		GetSecretValue GetSecretValue kms:Decrypt ssm:DescribeParameters GetParameters GetParameter ec2:DescribeInstances
		DescribeSnapshots s3:GetObject GetObject`), at, 5*time.Second, 80*time.Second, faultNone)
}

func (p *planter) hijackedSession(country string) {
	at, victim := p.at(112), p.staffOf("AdministratorAccess", 0)
	account := victim.accounts[0]
	s := p.staff(victim, victim.desk, account, true, hourOf(at)).elsewhere(hostIn(&p.dice, country, 2), agentIntruder3)
	p.play(Plant{
		Name: "hijacked administrator session", Kind: Intrusion, Country: country, Principal: p.ssoPrincipal(victim, account),
		Story: fmt.Sprintf("The SSO session of administrator %s is taken over from a hosting company in %s, which reads secrets and starts machines.",
			victim.name, country),
	}, s, methodsOf(`signin:ConsoleLogin sts:GetCallerIdentity iam:ListRoles organizations:ListAccounts secretsmanager:ListSecrets
		DescribeSecret GetSecretValue GetSecretValue GetSecretValue ec2:DescribeRegions DescribeInstanceTypes DescribeImages CreateKeyPair
		CreateSecurityGroup AuthorizeSecurityGroupIngress RunInstances RunInstances DescribeInstances iam:CreateAccessKey`),
		at, 10*time.Second, 75*time.Second, faultNone)
}

func (p *planter) lowAndSlow(country string) {
	victim := p.staffOf("DataEngineer", 0)
	account := victim.accounts[0]
	s := p.staff(victim, victim.desk, account, false, hourOf(p.begin)).elsewhere(hostIn(&p.dice, country, 3), victim.shell)
	p.play(Plant{
		Name: "low and slow", Kind: Intrusion, Country: country, Principal: p.ssoPrincipal(victim, account),
		Story: fmt.Sprintf("Someone in %s uses the credentials of data engineer %s for one call every 20 minutes or so.",
			country, victim.name),
	}, s, methodsOf(`s3:ListBuckets glue:GetDatabases GetTables s3:GetBucketPolicy athena:StartQueryExecution GetQueryResults
		s3:ListObjects`), p.at(8), 17*time.Minute, 23*time.Minute, faultNone)
}

func (p *planter) deniedSweep(country string) {
	m := p.machineOf("svc-office-backup", accountData)
	at := p.at(58)
	s := p.host(m, 0, hourOf(at)).elsewhere(hostIn(&p.dice, country, 2), agentIntruder)
	p.play(Plant{
		Name: "denied sweep", Kind: Intrusion, Country: country,
		Principal: p.org.accounts[accountData].ID + "/user/" + m.role,
		Story:     fmt.Sprintf("The key of the office backup is tried from %s on everything there is, and refused.", country),
	}, s, methodsOf(`sts:GetCallerIdentity iam:ListUsers ListRoles GetAccountAuthorizationDetails ListAccessKeys ec2:DescribeInstances
		DescribeSecurityGroups DescribeSnapshots DescribeVpcs lambda:ListFunctions secretsmanager:ListSecrets ssm:DescribeParameters
		rds:DescribeDBInstances DescribeDBSnapshots dynamodb:ListTables sqs:ListQueues sns:ListTopics kms:ListAliases
		cloudtrail:DescribeTrails guardduty:ListDetectors organizations:ListAccounts ListDelegatedAdministrators ecs:ListClusters
		eks:ListClusters ecr:DescribeRepositories glue:GetDatabases sagemaker:ListNotebookInstances ses:GetSendQuota
		codecommit:ListRepositories apigateway:GetRestApis elasticache:DescribeCacheClusters
		elasticfilesystem:DescribeFileSystems workspaces:DescribeWorkspaces`), at, time.Second, 12*time.Second, faultDenied)
}

func (p *planter) newMethod() {
	who, at := p.staffOf("PowerUserAccess", 0), p.at(12)
	account := who.accounts[0]
	s := p.staff(who, who.desk, account, true, hourOf(at))
	p.play(Plant{
		Name: "new method from the office", Kind: Benign, Country: p.org.offices[0], Principal: p.ssoPrincipal(who, account),
		Story: fmt.Sprintf("%s tries a service from the office that nobody here has called before.", who.name),
	}, s, methodsOf("bedrock:ListFoundationModels GetFoundationModelAvailability InvokeModel InvokeModel"),
		at, 10*time.Second, 40*time.Second, faultNone)
}

func (p *planter) pipelineBurst() {
	m := p.machineOf("ci-deploy", accountStaging)
	from, at := len(p.calls), p.at(40)
	end := at + 10*60_000
	s := p.host(m, 0, hourOf(at))
	for at < end {
		k := tasks()["release"]
		n, first := k.draw(&p.dice)
		for i := range n {
			p.add(&p.dice, k.calls[(first+i)%len(k.calls)], s, at)
			at += int64(200 + p.dice.below(600))
		}
	}
	p.note(Plant{
		Name: "pipeline burst", Kind: Benign, Country: "aws:" + p.org.regions[regionSecond],
		Principal: p.org.accounts[accountStaging].ID + "/role/" + m.role,
		Story:     "The pipeline releases everything at once: many more calls than ever, but none from elsewhere.",
	}, p.calls[from:])
}

// lateFile holds one file of production's trail back for 40 minutes. The calls in it are everybody's usual ones.
func (p *planter) lateFile() {
	from := p.at(48)
	l := lateFile{part: accountProduction*regionCount + regionHome, from: from, to: from + 5*60_000}
	l.due = l.to + 40*60_000
	p.late = l
	var calls []call
	for _, c := range p.calls {
		if c.part == l.part && c.at >= l.from && c.at < l.to {
			calls = append(calls, c)
		}
	}
	if len(calls) == 0 {
		return
	}
	slices.SortFunc(calls, func(a, b call) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	p.note(Plant{
		Name: "late file", Kind: Benign,
		Story: fmt.Sprintf("A log file of the production account arrives 40 minutes late, with %d calls that are nothing special.", len(calls)),
	}, calls)
}

func (p *planter) newService() {
	m := &machine{kind: amazonItself, role: "inspector2", account: accountProduction, hosts: []host{{"", "inspector2.amazonaws.com"}}, salt: p.dice.next()}
	at := p.at(75)
	p.play(Plant{
		Name: "new AWS service", Kind: Benign, Principal: "service/inspector2.amazonaws.com",
		Story: "A vulnerability scanner of AWS's own has been switched on and begins to call.",
	}, p.host(m, 0, hourOf(at)), methodsOf("ec2:DescribeInstances sts:AssumeRole ebs:ListSnapshotBlocks ec2:DescribeSnapshots ecr:DescribeImages"),
		at, 2*time.Second, 20*time.Second, faultNone)
}

func (p *planter) traveller(who *person, country string) {
	account := who.accounts[0]
	from, at := len(p.calls), p.at(66)
	s := *p.staff(who, who.home, account, true, hourOf(at))
	s.address = hostIn(&p.dice, country, p.dice.below(4))
	p.add(&p.dice, catalogue()["signin:ConsoleLogin"], &s, at)
	for range 5 {
		at += int64(3*60_000 + p.dice.below(6*60_000))
		k := who.chore(&p.dice)
		n, first := k.draw(&p.dice)
		for i := range n {
			p.add(&p.dice, k.calls[(first+i)%len(k.calls)], &s, at)
			at += int64(300 + p.dice.below(4000))
		}
	}
	p.note(Plant{
		Name: "honest traveller", Kind: Benign, Country: country, Principal: p.ssoPrincipal(who, account),
		Story: fmt.Sprintf("%s works from %s this morning, where hardly anyone has worked before; an alert on it is a false alarm.",
			who.name, country),
	}, p.calls[from:])
}
