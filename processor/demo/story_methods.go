package demo

import (
	"fmt"
	"strings"
	"sync"
)

// The regions that a story plays in, by index: the one where an organisation keeps most things, the second one, and the
// one that holds the global services and the providers from outside.
const (
	regionHome = iota
	regionSecond
	regionGlobal
	regionCount
)

type methodFlags uint8

const (
	flagWrite   methodFlags = 1 << iota
	flagGlobal              // logged in us-east-1 wherever the caller is
	flagData                // a data event
	flagSignIn              // eventType AwsConsoleSignIn
	flagService             // eventType AwsServiceEvent: something that a service did by itself
)

// method is an API method and the text of its records: JSON in which $name stands for a value that the event draws.
type method struct {
	flags                        methodFlags
	source                       string // eventSource, "iam.amazonaws.com"
	name                         string // eventName with the version suffix that some services add
	key                          string // "iam:CreateUser", the method's name without suffix
	host                         string // first label of the host that the client asks
	absent                       string // errorCode for something that does not exist
	request, response, resources template
	extra                        template // members between responseElements and requestID
}

type spec struct {
	key                                  string // "lambda:GetFunction", or with the suffix after a bar: "lambda:GetFunction|20150331v2"
	flags                                methodFlags
	request, response, resources, extras string
}

const (
	s3Extra   = `"additionalEventData":{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"$hex16$hex16b/$hex12=","bytesTransferredOut":$num}`
	s3Bucket  = `{"bucketName":"$bucket","Host":"$bucket.s3.$region.amazonaws.com"`
	s3Arn     = `[{"accountId":"$acct","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::$bucket"}]`
	s3Objects = `[{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::$bucket/$path/$hex12.parquet"},{"accountId":"$acct","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::$bucket"}]`
	kmsKey    = `[{"accountId":"$acct","type":"AWS::KMS::Key","ARN":"arn:aws:kms:$region:$acct:key/$kmskey"}]`
	stsToken  = `{"credentials":{"accessKeyId":"ASIA$key16","sessionToken":"IQoJb3JpZ2luX2Vj$hex16$hex16b$hex12","expiration":"$later"},"assumedRoleUser":{"assumedRoleId":"AROA$key17:$self","arn":"arn:aws:sts::$acct:assumed-role/$role/$self"}}`
	ec2Done   = `{"requestId":"$uuid","_return":true}`
)

// specs holds every method of a story. Which methods there are and how common each is follows public CloudTrail sets.
var specs = []spec{
	{"signin:ConsoleLogin", flagSignIn | flagWrite, "", `{"ConsoleLogin":"Success"}`, "", `"additionalEventData":{"LoginTo":"https://$region.console.aws.amazon.com/console/home?hashArgs=%23&isauthcode=true&nc2=h_ct&oauthStart=$num&src=header-signin","MobileVersion":"No","MFAIdentifier":"arn:aws:iam::$acct:u2f/user/$user/default-$key16","MFAUsed":"Yes"}`},

	{"sts:GetCallerIdentity", 0, "", "", "", ""},
	{"sts:AssumeRole", 0, `{"roleArn":"arn:aws:iam::$acct:role/$role","roleSessionName":"$self","durationSeconds":3600}`, stsToken, `[{"accountId":"$acct","type":"AWS::IAM::Role","ARN":"arn:aws:iam::$acct:role/$role"}]`, ""},
	{"sts:AssumeRoleWithWebIdentity", 0, `{"roleArn":"arn:aws:iam::$acct:role/$role","roleSessionName":"$self","durationSeconds":3600}`, stsToken, `[{"accountId":"$acct","type":"AWS::IAM::Role","ARN":"arn:aws:iam::$acct:role/$role"}]`, `"additionalEventData":{"identityProviderConnectionVerificationMethod":"IAMTrustStore"}`},

	{"ec2:DescribeInstances", 0, `{"maxResults":1000,"instancesSet":{},"filterSet":{"items":[{"name":"instance-state-name","valueSet":{"items":[{"value":"running"},{"value":"stopped"}]}}]}}`, "", "", ""},
	{"ec2:DescribeInstanceStatus", 0, `{"instancesSet":{"items":[{"instanceId":"i-0$hex16"}]},"filterSet":{},"includeAllInstances":true}`, "", "", ""},
	{"ec2:DescribeInstanceTypes", 0, `{"DescribeInstanceTypesRequest":{"MaxResults":100,"NextToken":"$hex16"}}`, "", "", ""},
	{"ec2:DescribeInstanceAttribute", 0, `{"instanceId":"i-0$hex16","attribute":"disableApiTermination"}`, "", "", ""},
	{"ec2:DescribeInstanceCreditSpecifications", 0, `{"DescribeInstanceCreditSpecificationsRequest":{"InstanceId":{"tag":1,"content":"i-0$hex16"}}}`, "", "", ""},
	{"ec2:DescribeVolumes", 0, `{"maxResults":500,"volumeSet":{},"filterSet":{"items":[{"name":"attachment.instance-id","valueSet":{"items":[{"value":"i-0$hex16"}]}}]}}`, "", "", ""},
	{"ec2:DescribeVolumeStatus", 0, `{"maxResults":500,"volumeSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeSecurityGroups", 0, `{"maxResults":1000,"securityGroupSet":{},"securityGroupIdSet":{"items":[{"groupId":"sg-0$hex16"}]},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeTags", 0, `{"maxResults":1000,"filterSet":{"items":[{"name":"resource-id","valueSet":{"items":[{"value":"i-0$hex16"}]}}]}}`, "", "", ""},
	{"ec2:DescribeAddresses", 0, `{"publicIpsSet":{},"filterSet":{},"allocationIdsSet":{}}`, "", "", ""},
	{"ec2:DescribeAvailabilityZones", 0, `{"availabilityZoneSet":{},"availabilityZoneIdSet":{},"allAvailabilityZones":true}`, "", "", ""},
	{"ec2:DescribeKeyPairs", 0, `{"keyNameSet":{},"keyPairIdSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeImages", 0, `{"imagesSet":{"items":[{"imageId":"ami-0$hex16"}]},"filterSet":{},"ownersSet":{}}`, "", "", ""},
	{"ec2:DescribeAccountAttributes", 0, `{"accountAttributeNameSet":{"items":[{"attributeName":"supported-platforms"},{"attributeName":"default-vpc"}]},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeRegions", 0, `{"regionSet":{},"allRegions":true}`, "", "", ""},
	{"ec2:DescribeLaunchTemplates", 0, `{"DescribeLaunchTemplatesRequest":{"MaxResults":200}}`, "", "", ""},
	{"ec2:DescribePlacementGroups", 0, `{"placementGroupSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeHosts", 0, `{"DescribeHostsRequest":{"MaxResults":500}}`, "", "", ""},
	{"ec2:DescribeSnapshots", 0, `{"maxResults":1000,"snapshotSet":{},"ownersSet":{"items":[{"owner":"self"}]},"sharedUsersSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeVpcs", 0, `{"vpcSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeVpcAttribute", 0, `{"vpcId":"vpc-0$hex16","attribute":"enableDnsHostnames"}`, "", "", ""},
	{"ec2:DescribeSubnets", 0, `{"subnetSet":{},"filterSet":{"items":[{"name":"vpc-id","valueSet":{"items":[{"value":"vpc-0$hex16"}]}}]}}`, "", "", ""},
	{"ec2:DescribeRouteTables", 0, `{"routeTableIdSet":{},"filterSet":{"items":[{"name":"vpc-id","valueSet":{"items":[{"value":"vpc-0$hex16"}]}}]}}`, "", "", ""},
	{"ec2:DescribeInternetGateways", 0, `{"internetGatewayIdSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeNatGateways", 0, `{"DescribeNatGatewaysRequest":{"MaxResults":1000}}`, "", "", ""},
	{"ec2:DescribeNetworkAcls", 0, `{"networkAclIdSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeNetworkInterfaces", 0, `{"networkInterfaceIdSet":{},"filterSet":{"items":[{"name":"attachment.instance-id","valueSet":{"items":[{"value":"i-0$hex16"}]}}]}}`, "", "", ""},
	{"ec2:DescribeDhcpOptions", 0, `{"dhcpOptionsSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeVpcEndpoints", 0, `{"DescribeVpcEndpointsRequest":{"MaxResults":1000}}`, "", "", ""},
	{"ec2:DescribeVpcPeeringConnections", 0, `{"vpcPeeringConnectionIdSet":{},"filterSet":{}}`, "", "", ""},
	{"ec2:DescribeFlowLogs", 0, `{"DescribeFlowLogsRequest":{"MaxResults":1000}}`, "", "", ""},
	{"ec2:RunInstances", flagWrite, `{"instancesSet":{"items":[{"imageId":"ami-0$hex16","minCount":1,"maxCount":1,"keyName":"$user"}]},"instanceType":"$size","blockDeviceMapping":{},"monitoring":{"enabled":false},"subnetId":"subnet-0$hex16","disableApiTermination":false,"clientToken":"$uuid"}`, `{"requestId":"$uuid","reservationId":"r-0$hex16","ownerId":"$acct","groupSet":{},"instancesSet":{"items":[{"instanceId":"i-0$hex16","imageId":"ami-0$hex16","currentState":{"code":0,"name":"pending"},"instanceType":"$size"}]}}`, "", ""},
	{"ec2:StartInstances", flagWrite, `{"instancesSet":{"items":[{"instanceId":"i-0$hex16"}]}}`, ec2Done, "", ""},
	{"ec2:StopInstances", flagWrite, `{"instancesSet":{"items":[{"instanceId":"i-0$hex16"}]},"force":false}`, ec2Done, "", ""},
	{"ec2:TerminateInstances", flagWrite, `{"instancesSet":{"items":[{"instanceId":"i-0$hex16"}]}}`, ec2Done, "", ""},
	{"ec2:CreateTags", flagWrite, `{"resourcesSet":{"items":[{"resourceId":"i-0$hex16"}]},"tagSet":{"items":[{"key":"team","value":"$group"}]}}`, ec2Done, "", ""},
	{"ec2:CreateSecurityGroup", flagWrite, `{"groupName":"$group-$hex8","groupDescription":"temporary","vpcId":"vpc-0$hex16"}`, `{"requestId":"$uuid","_return":true,"groupId":"sg-0$hex16"}`, "", ""},
	{"ec2:AuthorizeSecurityGroupIngress", flagWrite, `{"groupId":"sg-0$hex16","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":22,"toPort":22,"groups":{},"ipRanges":{"items":[{"cidrIp":"$addr/32"}]},"ipv6Ranges":{},"prefixListIds":{}}]}}`, ec2Done, "", ""},
	{"ec2:CreateKeyPair", flagWrite, `{"keyName":"$user-$hex8","keyType":"ed25519","keyFormat":"pem"}`, `{"requestId":"$uuid","keyName":"$user-$hex8","keyFingerprint":"$hex16","keyPairId":"key-0$hex16","keyMaterial":"<sensitiveDataRemoved>"}`, "", ""},
	{"ec2:ModifyInstanceAttribute", flagWrite, `{"instanceId":"i-0$hex16","disableApiTermination":{"value":true}}`, ec2Done, "", ""},
	{"ec2:CreateSnapshot", flagWrite, `{"volumeId":"vol-0$hex16","description":"nightly","tagSpecificationSet":{}}`, `{"requestId":"$uuid","snapshotId":"snap-0$hex16","volumeId":"vol-0$hex16","status":"pending","ownerId":"$acct"}`, "", ""},

	{"elasticloadbalancing:DescribeLoadBalancers", 0, `{"pageSize":400}`, "", "", ""},
	{"elasticloadbalancing:DescribeTargetGroups", 0, `{"pageSize":400}`, "", "", ""},
	{"elasticloadbalancing:DescribeTargetHealth", 0, `{"targetGroupArn":"arn:aws:elasticloadbalancing:$region:$acct:targetgroup/$group/$hex16"}`, "", "", ""},
	{"autoscaling:DescribeAutoScalingGroups", 0, `{"maxRecords":100}`, "", "", ""},
	{"autoscaling:DescribeAutoScalingInstances", 0, `{"instanceIds":["i-0$hex16"]}`, "", "", ""},
	{"compute-optimizer:GetEnrollmentStatus", 0, "", "", "", ""},
	{"health:DescribeEventAggregates", flagGlobal, `{"aggregateField":"eventTypeCategory","filter":{"eventStatusCodes":["open","upcoming"]}}`, "", "", ""},

	{"s3:ListBuckets", 0, `{"Host":"s3.$region.amazonaws.com"}`, "", "", s3Extra},
	{"s3:GetBucketLocation", 0, s3Bucket + `,"location":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketAcl", 0, s3Bucket + `,"acl":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketPolicy", 0, s3Bucket + `,"policy":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketPolicyStatus", 0, s3Bucket + `,"policyStatus":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketPublicAccessBlock", 0, s3Bucket + `,"publicAccessBlock":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketVersioning", 0, s3Bucket + `,"versioning":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketTagging", 0, s3Bucket + `,"tagging":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketEncryption", 0, s3Bucket + `,"encryption":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketLogging", 0, s3Bucket + `,"logging":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketLifecycle", 0, s3Bucket + `,"lifecycle":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketCors", 0, s3Bucket + `,"cors":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketWebsite", 0, s3Bucket + `,"website":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketReplication", 0, s3Bucket + `,"replication":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketNotification", 0, s3Bucket + `,"notification":""}`, "", s3Arn, s3Extra},
	{"s3:GetBucketObjectLockConfiguration", 0, s3Bucket + `,"object-lock":""}`, "", s3Arn, s3Extra},
	{"s3:GetAccountPublicAccessBlock", 0, `{"publicAccessBlock":"","Host":"$acct.s3-control.$region.amazonaws.com"}`, "", "", s3Extra},
	{"s3:ListAccessPoints", 0, `{"maxResults":"1000","Host":"$acct.s3-control.$region.amazonaws.com"}`, "", "", s3Extra},
	{"s3:ListObjects", flagData, s3Bucket + `,"list-type":"2","prefix":"$path/"}`, "", s3Arn, s3Extra},
	{"s3:GetObject", flagData, s3Bucket + `,"key":"$path/$hex12.parquet"}`, "", s3Objects, s3Extra},
	{"s3:PutObject", flagData | flagWrite, s3Bucket + `,"key":"$path/$hex12.parquet"}`, `{"x-amz-server-side-encryption":"aws:kms","x-amz-server-side-encryption-aws-kms-key-id":"arn:aws:kms:$region:$acct:key/$kmskey"}`, s3Objects, s3Extra},

	{"rds:DescribeDBInstances", 0, `{"maxRecords":100}`, "", "", ""},
	{"rds:DescribeDBClusters", 0, `{"includeShared":false,"maxRecords":100}`, "", "", ""},
	{"rds:DescribeDBSnapshots", 0, `{"includePublic":false,"includeShared":true,"maxRecords":100}`, "", "", ""},
	{"rds:DescribeDBSubnetGroups", 0, `{"maxRecords":100}`, "", "", ""},
	{"rds:DescribeDBEngineVersions", 0, `{"engine":"aurora-postgresql","includeAll":false,"defaultOnly":false}`, "", "", ""},
	{"rds:DescribeOrderableDBInstanceOptions", 0, `{"engine":"postgres","engineVersion":"16.4","maxRecords":100}`, "", "", ""},
	{"rds:DescribeEvents", 0, `{"sourceType":"db-instance","sourceIdentifier":"$db","duration":1440}`, "", "", ""},
	{"rds:ListTagsForResource", 0, `{"resourceName":"arn:aws:rds:$region:$acct:db:$db"}`, "", "", ""},
	{"rds:DescribeRecommendations", 0, `{"locale":"en_US"}`, "", "", ""},
	{"rds:DescribePendingMaintenanceActions", 0, `{"maxRecords":100}`, "", "", ""},
	{"rds:CreateDBSnapshot", flagWrite, `{"dBSnapshotIdentifier":"$db-$hex8","dBInstanceIdentifier":"$db"}`, `{"dBSnapshotIdentifier":"$db-$hex8","dBInstanceIdentifier":"$db","status":"creating","snapshotType":"manual"}`, "", ""},

	{"lambda:ListFunctions|20150331", 0, `{"maxItems":50}`, "", "", ""},
	{"lambda:GetFunction|20150331v2", 0, `{"functionName":"$fn"}`, "", "", ""},
	{"lambda:GetFunctionConfiguration|20150331v2", 0, `{"functionName":"arn:aws:lambda:$region:$acct:function:$fn"}`, "", "", ""},
	{"lambda:ListEventSourceMappings|20150331", 0, `{"functionName":"$fn"}`, "", "", ""},
	{"lambda:GetPolicy|20150331v2", 0, `{"functionName":"$fn"}`, "", "", ""},
	{"lambda:ListVersionsByFunction|20150331", 0, `{"functionName":"$fn"}`, "", "", ""},
	{"lambda:GetFunctionCodeSigningConfig", 0, `{"functionName":"$fn"}`, "", "", ""},
	{"lambda:ListTags|20170331", 0, `{"resource":"arn:aws:lambda:$region:$acct:function:$fn"}`, "", "", ""},
	{"lambda:UpdateFunctionCode|20150331v2", flagWrite, `{"functionName":"$fn","s3Bucket":"$bucket","s3Key":"$path/$hex12.zip","publish":false,"dryRun":false}`, `{"functionName":"$fn","functionArn":"arn:aws:lambda:$region:$acct:function:$fn","runtime":"python3.13","codeSize":$num,"version":"$$LATEST","revisionId":"$uuid"}`, "", ""},
	{"lambda:UpdateFunctionConfiguration|20150331v2", flagWrite, `{"functionName":"$fn","timeout":30,"memorySize":512}`, `{"functionName":"$fn","functionArn":"arn:aws:lambda:$region:$acct:function:$fn","timeout":30,"revisionId":"$uuid"}`, "", ""},

	{"logs:DescribeLogGroups", 0, `{"limit":50,"logGroupNamePrefix":"/aws/lambda/$fn"}`, "", "", ""},
	{"logs:DescribeLogStreams", 0, `{"logGroupName":"/aws/lambda/$fn","orderBy":"LastEventTime","descending":true,"limit":50}`, "", "", ""},
	{"logs:DescribeMetricFilters", 0, `{"logGroupName":"/aws/lambda/$fn"}`, "", "", ""},
	{"logs:StartQuery", 0, `{"logGroupNames":["/aws/lambda/$fn"],"startTime":$num,"endTime":$num,"limit":10000}`, `{"queryId":"$uuid"}`, "", ""},
	{"logs:GetQueryResults", 0, `{"queryId":"$uuid"}`, "", "", ""},
	{"logs:FilterLogEvents", 0, `{"logGroupName":"/aws/lambda/$fn","interleaved":true,"limit":10000}`, "", "", ""},
	{"logs:CreateLogStream", flagWrite, `{"logGroupName":"/ecs/$group","logStreamName":"$group/$hex16$hex16b"}`, "", "", ""},
	{"logs:ListTagsLogGroup", 0, `{"logGroupName":"/aws/lambda/$fn"}`, "", "", ""},

	{"monitoring:DescribeAlarms", 0, `{"maxRecords":100,"alarmTypes":["CompositeAlarm","MetricAlarm"]}`, "", "", ""},
	{"monitoring:ListDashboards", 0, "", "", "", ""},
	{"monitoring:GetDashboard", 0, `{"dashboardName":"$group-overview"}`, "", "", ""},
	{"monitoring:DescribeInsightRules", 0, `{"maxResults":500}`, "", "", ""},
	{"monitoring:DescribeAnomalyDetectors", 0, `{"maxResults":100}`, "", "", ""},
	{"tagging:GetResources", 0, `{"resourcesPerPage":100,"resourceTypeFilters":["ec2:instance","rds:db","lambda:function"]}`, "", "", ""},
	{"tagging:GetTagKeys", 0, "", "", "", ""},
	{"resource-groups:ListGroups", 0, "", "", "", ""},
	{"xray:GetTraceSummaries", 0, `{"startTime":$num,"endTime":$num,"sampling":false}`, "", "", ""},
	{"xray:GetSamplingRules", 0, "", "", "", ""},

	{"iam:GetAccountSummary", flagGlobal, "", "", "", ""},
	{"iam:ListAccountAliases", flagGlobal, "", "", "", ""},
	{"iam:ListUsers", flagGlobal, `{"maxItems":1000}`, "", "", ""},
	{"iam:ListRoles", flagGlobal, `{"maxItems":1000}`, "", "", ""},
	{"iam:ListGroups", flagGlobal, `{"maxItems":1000}`, "", "", ""},
	{"iam:ListPolicies", flagGlobal, `{"scope":"Local","onlyAttached":false,"maxItems":1000}`, "", "", ""},
	{"iam:GetUser", flagGlobal, `{"userName":"$user"}`, "", "", ""},
	{"iam:GetRole", flagGlobal, `{"roleName":"$role"}`, "", "", ""},
	{"iam:GetPolicy", flagGlobal, `{"policyArn":"arn:aws:iam::$acct:policy/$group-access"}`, "", "", ""},
	{"iam:GetPolicyVersion", flagGlobal, `{"policyArn":"arn:aws:iam::$acct:policy/$group-access","versionId":"v3"}`, "", "", ""},
	{"iam:GetRolePolicy", flagGlobal, `{"roleName":"$role","policyName":"$group-inline"}`, "", "", ""},
	{"iam:ListAttachedRolePolicies", flagGlobal, `{"roleName":"$role"}`, "", "", ""},
	{"iam:ListRolePolicies", flagGlobal, `{"roleName":"$role"}`, "", "", ""},
	{"iam:ListAttachedUserPolicies", flagGlobal, `{"userName":"$user"}`, "", "", ""},
	{"iam:ListUserPolicies", flagGlobal, `{"userName":"$user"}`, "", "", ""},
	{"iam:ListGroupsForUser", flagGlobal, `{"userName":"$user"}`, "", "", ""},
	{"iam:ListAccessKeys", flagGlobal, `{"userName":"$user"}`, "", "", ""},
	{"iam:ListMFADevices", flagGlobal, `{"userName":"$user"}`, "", "", ""},
	{"iam:ListInstanceProfilesForRole", flagGlobal, `{"roleName":"$role"}`, "", "", ""},
	{"iam:CreateUser", flagWrite | flagGlobal, `{"userName":"$user","path":"/staff/"}`, `{"user":{"path":"/staff/","userName":"$user","userId":"AIDA$key17","arn":"arn:aws:iam::$acct:user/staff/$user","createDate":"$now"}}`, "", ""},
	{"iam:CreateAccessKey", flagWrite | flagGlobal, `{"userName":"$user"}`, `{"accessKey":{"userName":"$user","accessKeyId":"AKIA$key16","status":"Active","createDate":"$now"}}`, "", ""},
	{"iam:CreateLoginProfile", flagWrite | flagGlobal, `{"userName":"$user","passwordResetRequired":true}`, `{"loginProfile":{"userName":"$user","createDate":"$now","passwordResetRequired":true}}`, "", ""},
	{"iam:AttachUserPolicy", flagWrite | flagGlobal, `{"userName":"$user","policyArn":"arn:aws:iam::aws:policy/ReadOnlyAccess"}`, "", "", ""},
	{"iam:AddUserToGroup", flagWrite | flagGlobal, `{"userName":"$user","groupName":"$group"}`, "", "", ""},
	{"iam:RemoveUserFromGroup", flagWrite | flagGlobal, `{"userName":"$user","groupName":"$group"}`, "", "", ""},
	{"iam:UpdateAccessKey", flagWrite | flagGlobal, `{"userName":"$user","accessKeyId":"AKIA$key16","status":"Inactive"}`, "", "", ""},
	{"iam:DeleteAccessKey", flagWrite | flagGlobal, `{"userName":"$user","accessKeyId":"AKIA$key16"}`, "", "", ""},
	{"iam:TagUser", flagWrite | flagGlobal, `{"userName":"$user","tags":[{"key":"cost-center","value":"$num"}]}`, "", "", ""},
	{"iam:CreateRole", flagWrite | flagGlobal, `{"roleName":"$role-$hex8","assumeRolePolicyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"lambda.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}"}`, `{"role":{"path":"/","roleName":"$role-$hex8","roleId":"AROA$key17","arn":"arn:aws:iam::$acct:role/$role-$hex8","createDate":"$now"}}`, "", ""},
	{"iam:AttachRolePolicy", flagWrite | flagGlobal, `{"roleName":"$role","policyArn":"arn:aws:iam::$acct:policy/$group-access"}`, "", "", ""},
	{"iam:PutRolePolicy", flagWrite | flagGlobal, `{"roleName":"$role","policyName":"$group-inline","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::$bucket/*\"}]}"}`, "", "", ""},
	{"iam:CreatePolicyVersion", flagWrite | flagGlobal, `{"policyArn":"arn:aws:iam::$acct:policy/$group-access","setAsDefault":true,"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"sqs:*\",\"Resource\":\"*\"}]}"}`, `{"policyVersion":{"versionId":"v4","isDefaultVersion":true,"createDate":"$now"}}`, "", ""},
	{"iam:TagRole", flagWrite | flagGlobal, `{"roleName":"$role","tags":[{"key":"team","value":"$group"}]}`, "", "", ""},

	{"secretsmanager:ListSecrets", 0, `{"maxResults":100,"filters":[{"key":"name","values":["$group/"]}]}`, "", "", ""},
	{"secretsmanager:DescribeSecret", 0, `{"secretId":"$secret"}`, "", "", ""},
	{"secretsmanager:GetSecretValue", 0, `{"secretId":"arn:aws:secretsmanager:$region:$acct:secret:$secret"}`, "", "", ""},
	{"secretsmanager:GetResourcePolicy", 0, `{"secretId":"$secret"}`, "", "", ""},
	{"secretsmanager:PutSecretValue", flagWrite, `{"secretId":"arn:aws:secretsmanager:$region:$acct:secret:$secret","clientRequestToken":"$uuid"}`, `{"arn":"arn:aws:secretsmanager:$region:$acct:secret:$secret"}`, "", ""},
	{"secretsmanager:RotationStarted", flagService, "", "", "", `"additionalEventData":{"SecretId":"arn:aws:secretsmanager:$region:$acct:secret:$secret"},"serviceEventDetails":null`},
	{"secretsmanager:RotationSucceeded", flagService, "", "", "", `"additionalEventData":{"SecretId":"arn:aws:secretsmanager:$region:$acct:secret:$secret"},"serviceEventDetails":null`},
	{"ssm:GetParameter", 0, `{"name":"/$group/$path/config","withDecryption":true}`, "", `[{"accountId":"$acct","ARN":"arn:aws:ssm:$region:$acct:parameter/$group/$path/config"}]`, ""},
	{"ssm:GetParameters", 0, `{"names":["/$group/$path/config","/$group/$path/flags"],"withDecryption":true}`, "", "", ""},
	{"ssm:DescribeParameters", 0, `{"maxResults":50}`, "", "", ""},
	{"ssm:PutParameter", flagWrite, `{"name":"/$group/$path/config","value":"HIDDEN_DUE_TO_SECURITY_REASONS","type":"SecureString","overwrite":true}`, `{"version":7,"tier":"Standard"}`, "", ""},
	{"ssm:DescribeInstanceInformation", 0, `{"maxResults":50,"filters":[{"key":"PingStatus","values":["Online"]}]}`, "", "", ""},
	{"ssm:ListInstanceAssociations", 0, `{"instanceId":"i-0$hex16","maxResults":20}`, "", "", ""},
	{"ssm:UpdateInstanceInformation", flagWrite, `{"instanceId":"i-0$hex16","agentVersion":"3.3.2299.0","agentStatus":"Active","platformType":"Linux","platformName":"Amazon Linux","platformVersion":"2023","iPAddress":"10.20.14.7"}`, "", "", ""},
	{"ssm:StartSession", flagWrite, `{"target":"i-0$hex16"}`, `{"sessionId":"$self-$hex16","tokenValue":"Value hidden due to security reasons.","streamUrl":"wss://ssmmessages.$region.amazonaws.com/v1/data-channel/$self-$hex16"}`, "", ""},
	{"ssm:TerminateSession", flagWrite, `{"sessionId":"$self-$hex16"}`, `{"sessionId":"$self-$hex16"}`, "", ""},
	{"ssm:SendCommand", flagWrite, `{"instanceIds":["i-0$hex16"],"documentName":"AWS-RunShellScript","timeoutSeconds":600,"parameters":"HIDDEN_DUE_TO_SECURITY_REASONS"}`, `{"command":{"commandId":"$uuid","documentName":"AWS-RunShellScript","status":"Pending","targetCount":1}}`, "", ""},
	{"ssm:GetCommandInvocation", 0, `{"commandId":"$uuid","instanceId":"i-0$hex16"}`, "", "", ""},
	{"kms:Decrypt", 0, `{"encryptionContext":{"PARAMETER_ARN":"arn:aws:ssm:$region:$acct:parameter/$group/$path/config"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}`, "", kmsKey, `"additionalEventData":{"keyMaterialId":"$hex16$hex16b$hex12"}`},
	{"kms:GenerateDataKey", 0, `{"keyId":"arn:aws:kms:$region:$acct:key/$kmskey","keySpec":"AES_256","encryptionContext":{"aws:s3:arn":"arn:aws:s3:::$bucket/$path/$hex12.parquet"}}`, "", kmsKey, `"additionalEventData":{"keyMaterialId":"$hex16$hex16b$hex12"}`},
	{"kms:DescribeKey", 0, `{"keyId":"arn:aws:kms:$region:$acct:key/$kmskey"}`, "", kmsKey, ""},
	{"kms:ListAliases", 0, `{"limit":100}`, "", "", ""},
	{"kms:RotateKey", flagService | flagWrite, "", "", kmsKey, `"serviceEventDetails":{"keyId":"$kmskey","rotationType":"AUTOMATIC","keyOrigin":"AWS_KMS"}`},

	{"cloudformation:ListStacks", 0, `{"stackStatusFilter":["CREATE_COMPLETE","UPDATE_COMPLETE","UPDATE_ROLLBACK_COMPLETE"]}`, "", "", ""},
	{"cloudformation:DescribeStacks", 0, `{"stackName":"$group-$path"}`, "", "", ""},
	{"cloudformation:DescribeStackEvents", 0, `{"stackName":"$group-$path"}`, "", "", ""},
	{"cloudformation:DescribeStackResources", 0, `{"stackName":"$group-$path"}`, "", "", ""},
	{"cloudformation:GetTemplate", 0, `{"stackName":"$group-$path","templateStage":"Original"}`, "", "", ""},
	{"cloudformation:ValidateTemplate", 0, `{"templateURL":"https://$bucket.s3.$region.amazonaws.com/$hex12.template"}`, "", "", ""},
	{"cloudformation:CreateChangeSet", flagWrite, `{"stackName":"$group-$path","changeSetName":"release-$num","changeSetType":"UPDATE","capabilities":["CAPABILITY_IAM"]}`, `{"id":"arn:aws:cloudformation:$region:$acct:changeSet/release-$num/$uuid"}`, "", ""},
	{"cloudformation:ExecuteChangeSet", flagWrite, `{"stackName":"$group-$path","changeSetName":"release-$num","clientRequestToken":"$uuid"}`, "", "", ""},
	{"ecs:ListClusters", 0, `{"maxResults":100}`, "", "", ""},
	{"ecs:DescribeClusters", 0, `{"clusters":["$group"],"include":["STATISTICS"]}`, "", "", ""},
	{"ecs:ListServices", 0, `{"cluster":"$group","maxResults":100}`, "", "", ""},
	{"ecs:DescribeServices", 0, `{"cluster":"$group","services":["$fn"]}`, "", "", ""},
	{"ecs:ListTasks", 0, `{"cluster":"$group","serviceName":"$fn"}`, "", "", ""},
	{"ecs:DescribeTasks", 0, `{"cluster":"$group","tasks":["arn:aws:ecs:$region:$acct:task/$group/$hex16$hex16b"]}`, "", "", ""},
	{"ecs:DescribeTaskDefinition", 0, `{"taskDefinition":"$fn:$num"}`, "", "", ""},
	{"ecs:UpdateService", flagWrite, `{"cluster":"$group","service":"$fn","taskDefinition":"$fn:$num","forceNewDeployment":true}`, `{"service":{"serviceName":"$fn","status":"ACTIVE","desiredCount":3,"runningCount":3}}`, "", ""},
	{"ecs:RegisterTaskDefinition", flagWrite, `{"family":"$fn","networkMode":"awsvpc","cpu":"512","memory":"1024","requiresCompatibilities":["FARGATE"]}`, `{"taskDefinition":{"taskDefinitionArn":"arn:aws:ecs:$region:$acct:task-definition/$fn:$num","status":"ACTIVE"}}`, "", ""},
	{"ecr:DescribeRepositories", 0, `{"maxResults":100}`, "", "", ""},
	{"ecr:DescribeImages", 0, `{"repositoryName":"$fn","filter":{"tagStatus":"ANY"}}`, "", `[{"accountId":"$acct","ARN":"arn:aws:ecr:$region:$acct:repository/$fn"}]`, ""},
	{"ecr:ListImages", 0, `{"repositoryName":"$fn"}`, "", "", ""},
	{"ecr:GetAuthorizationToken", 0, "", "", "", ""},
	{"ecr:BatchGetImage", 0, `{"repositoryName":"$fn","imageIds":[{"imageTag":"$hex8"}],"acceptedMediaTypes":["application/vnd.oci.image.manifest.v1+json"]}`, "", `[{"accountId":"$acct","ARN":"arn:aws:ecr:$region:$acct:repository/$fn"}]`, ""},
	{"ecr:PutImage", flagWrite, `{"repositoryName":"$fn","imageTag":"$hex8"}`, `{"image":{"repositoryName":"$fn","imageId":{"imageTag":"$hex8","imageDigest":"sha256:$hex16$hex16b$hex16$hex16b"}}}`, "", ""},
	{"eks:ListClusters", 0, `{"maxResults":100}`, "", "", ""},
	{"eks:DescribeCluster", 0, `{"name":"$group"}`, "", "", ""},
	{"eks:ListNodegroups", 0, `{"name":"$group","maxResults":100}`, "", "", ""},

	{"dynamodb:ListTables", 0, `{"limit":100}`, "", "", ""},
	{"dynamodb:DescribeTable", 0, `{"tableName":"$table"}`, "", `[{"accountId":"$acct","type":"AWS::DynamoDB::Table","ARN":"arn:aws:dynamodb:$region:$acct:table/$table"}]`, ""},
	{"dynamodb:DescribeContinuousBackups", 0, `{"tableName":"$table"}`, "", "", ""},
	{"sqs:ListQueues", 0, `{"maxResults":1000}`, "", "", ""},
	{"sqs:GetQueueAttributes", 0, `{"queueUrl":"https://sqs.$region.amazonaws.com/$acct/$fn","attributeNames":["All"]}`, "", "", ""},
	{"sns:ListTopics", 0, "", "", "", ""},
	{"sns:GetTopicAttributes", 0, `{"topicArn":"arn:aws:sns:$region:$acct:$fn"}`, "", "", ""},
	{"sns:ListSubscriptions", 0, "", "", "", ""},
	{"events:ListRules", 0, `{"limit":100,"eventBusName":"default"}`, "", "", ""},
	{"states:ListStateMachines", 0, `{"maxResults":1000}`, "", "", ""},
	{"states:DescribeExecution", 0, `{"executionArn":"arn:aws:states:$region:$acct:execution:$fn:$uuid"}`, "", "", ""},

	{"glue:GetDatabases", 0, `{"maxResults":100}`, "", "", ""},
	{"glue:GetTables", 0, `{"databaseName":"$path","maxResults":100}`, "", "", ""},
	{"glue:GetTable", 0, `{"databaseName":"$path","name":"$table"}`, "", "", ""},
	{"glue:GetPartitions", 0, `{"databaseName":"$path","tableName":"$table","maxResults":1000}`, "", "", ""},
	{"glue:GetJobRuns", 0, `{"jobName":"$fn","maxResults":20}`, "", "", ""},
	{"glue:StartJobRun", flagWrite, `{"jobName":"$fn","arguments":"HIDDEN_DUE_TO_SECURITY_REASONS"}`, `{"jobRunId":"jr_$hex16$hex16b"}`, "", ""},
	{"athena:ListWorkGroups", 0, `{"maxResults":50}`, "", "", ""},
	{"athena:GetWorkGroup", 0, `{"workGroup":"primary"}`, "", "", ""},
	{"athena:StartQueryExecution", flagWrite, `{"queryString":"***OMITTED***","clientRequestToken":"$uuid","queryExecutionContext":{"database":"$path"},"workGroup":"primary"}`, `{"queryExecutionId":"$uuid"}`, "", ""},
	{"athena:GetQueryExecution", 0, `{"queryExecutionId":"$uuid"}`, "", "", ""},
	{"athena:GetQueryResults", 0, `{"queryExecutionId":"$uuid","maxResults":1000}`, "", "", ""},
	{"redshift:DescribeClusters", 0, `{"maxRecords":100}`, "", "", ""},

	{"ce:GetCostAndUsage", flagGlobal, `{"granularity":"DAILY","metrics":["UnblendedCost"],"groupBy":[{"type":"DIMENSION","key":"SERVICE"}]}`, "", "", ""},
	{"ce:GetCostForecast", flagGlobal, `{"granularity":"MONTHLY","metric":"UNBLENDED_COST"}`, "", "", ""},
	{"ce:GetDimensionValues", flagGlobal, `{"dimension":"LINKED_ACCOUNT"}`, "", "", ""},
	{"budgets:DescribeBudgets", flagGlobal, `{"accountId":"$acct","maxResults":100}`, "", "", ""},
	{"billingconsole:GetBillsForBillingPeriod", flagGlobal, `{"year":2026}`, "", "", ""},
	{"freetier:GetAccountPlanState", flagGlobal, "", "", "", ""},
	{"organizations:DescribeOrganization", flagGlobal, "", "", "", ""},
	{"organizations:ListAccounts", flagGlobal, `{"maxResults":20}`, "", "", ""},
	{"organizations:ListRoots", flagGlobal, "", "", "", ""},

	{"cloudtrail:LookupEvents", 0, `{"lookupAttributes":[{"attributeKey":"ReadOnly","attributeValue":"false"}],"maxResults":50}`, "", "", ""},
	{"cloudtrail:DescribeTrails", 0, `{"trailNameList":[],"includeShadowTrails":true}`, "", "", ""},
	{"cloudtrail:GetTrailStatus", 0, `{"name":"arn:aws:cloudtrail:$region:$acct:trail/org-trail"}`, "", "", ""},
	{"cloudtrail:GetEventSelectors", 0, `{"trailName":"org-trail"}`, "", "", ""},
	{"guardduty:ListDetectors", 0, "", "", "", ""},
	{"guardduty:ListFindings", 0, `{"detectorId":"$hex16$hex16b","maxResults":50}`, "", "", ""},
	{"guardduty:GetFindings", 0, `{"detectorId":"$hex16$hex16b","findingIds":["$hex16$hex16b"]}`, "", "", ""},
	{"securityhub:DescribeHub", 0, "", "", "", ""},
	{"securityhub:GetFindings", 0, `{"maxResults":100,"filters":{"recordState":[{"value":"ACTIVE","comparison":"EQUALS"}]}}`, "", "", ""},
	{"config:DescribeConfigRules", 0, "", "", "", ""},
	{"config:DescribeConfigurationRecorders", 0, "", "", "", ""},
	{"config:SelectResourceConfig", 0, `{"expression":"SELECT resourceId WHERE resourceType = 'AWS::EC2::Instance'","limit":100}`, "", "", ""},
	{"access-analyzer:ListAnalyzers", 0, "", "", "", ""},
	{"access-analyzer:ListFindings", 0, `{"analyzerArn":"arn:aws:access-analyzer:$region:$acct:analyzer/organisation","maxResults":100}`, "", "", ""},
	{"route53:ListHostedZones", flagGlobal, `{"maxItems":"100"}`, "", "", ""},
	{"route53:ListResourceRecordSets", flagGlobal, `{"hostedZoneId":"Z0$key16","maxItems":"300"}`, "", "", ""},
	{"route53:ChangeResourceRecordSets", flagWrite | flagGlobal, `{"hostedZoneId":"Z0$key16","changeBatch":{"changes":[{"action":"UPSERT","resourceRecordSet":{"name":"$fn.example.com","type":"CNAME","tTL":300}}]}}`, `{"changeInfo":{"id":"/change/C0$key16","status":"PENDING","submittedAt":"$now"}}`, "", ""},
	{"cloudfront:ListDistributions|2020_05_31", flagGlobal, `{"maxItems":"100"}`, "", "", ""},
	{"cloudfront:GetDistribution|2020_05_31", flagGlobal, `{"id":"E$key13"}`, "", "", ""},
	{"cloudfront:CreateInvalidation|2020_05_31", flagWrite | flagGlobal, `{"distributionId":"E$key13","invalidationBatch":{"paths":{"quantity":1,"items":["/*"]},"callerReference":"$hex16"}}`, `{"invalidation":{"id":"I$key13","status":"InProgress","createTime":"$now"}}`, "", ""},
	{"backup:ListBackupJobs", 0, `{"maxResults":100,"byState":"RUNNING"}`, "", "", ""},
	{"backup:StartBackupJob", flagWrite, `{"backupVaultName":"$group","resourceArn":"arn:aws:rds:$region:$acct:db:$db","iamRoleArn":"arn:aws:iam::$acct:role/$role"}`, `{"backupJobId":"$uuid","creationDate":"$now"}`, "", ""},

	// What only live traffic calls.
	{"bedrock:ListFoundationModels", 0, `{"byOutputModality":"TEXT"}`, "", "", ""},
	{"bedrock:GetFoundationModelAvailability", 0, `{"modelId":"amazon.nova-pro-v1:0"}`, "", "", ""},
	{"bedrock:InvokeModel", 0, `{"modelId":"amazon.nova-pro-v1:0"}`, "", "", `"additionalEventData":{"inferenceRegion":"$region"}`},
	{"ebs:ListSnapshotBlocks", flagData, `{"snapshotId":"snap-0$hex16","maxResults":10000}`, "", "", ""},
	{"iam:GetAccountAuthorizationDetails", flagGlobal, `{"filter":[],"maxItems":1000}`, "", "", ""},
	{"organizations:ListDelegatedAdministrators", flagGlobal, "", "", "", ""},
	{"sagemaker:ListNotebookInstances", 0, `{"maxResults":100}`, "", "", ""},
	{"ses:GetSendQuota", 0, "", "", "", ""},
	{"codecommit:ListRepositories", 0, "", "", "", ""},
	{"apigateway:GetRestApis", 0, `{"limit":500}`, "", "", ""},
	{"elasticache:DescribeCacheClusters", 0, `{"maxRecords":100}`, "", "", ""},
	{"elasticfilesystem:DescribeFileSystems", 0, `{"maxItems":100}`, "", "", ""},
	{"workspaces:DescribeWorkspaces", 0, `{"limit":25}`, "", "", ""},
}

// catalogue holds the methods by key. It is the same for every story.
var catalogue = sync.OnceValue(func() map[string]*method {
	all := make(map[string]*method, len(specs))
	for _, s := range specs {
		key, suffix, _ := strings.Cut(s.key, "|")
		svc, action, ok := strings.Cut(key, ":")
		if !ok || all[key] != nil {
			panic(fmt.Sprintf("demo: method %q is malformed or listed twice", s.key))
		}
		absent := "ResourceNotFoundException"
		switch svc {
		case "s3":
			absent = "NoSuchBucket"
		case "iam":
			absent = "NoSuchEntityException"
		case "ec2":
			absent = "Client.InvalidInstanceID.NotFound"
		}
		all[key] = &method{
			flags: s.flags, source: svc + ".amazonaws.com", name: action + suffix, key: key, host: svc, absent: absent,
			request: compile(s.request), response: compile(s.response), resources: compile(s.resources), extra: compile(s.extras),
		}
	}
	return all
})

// methodsOf looks methods up by keys parted by blanks, where a key without a service keeps that of the key before it.
func methodsOf(keys string) []*method {
	all, svc := catalogue(), ""
	var l []*method
	for _, k := range strings.Fields(keys) {
		if s, _, ok := strings.Cut(k, ":"); ok {
			svc = s
		} else {
			k = svc + ":" + k
		}
		m := all[k]
		if m == nil {
			panic(fmt.Sprintf("demo: no method %q in the catalogue", k))
		}
		l = append(l, m)
	}
	return l
}

// task is something that a caller does: a run of calls to related methods, as a page of the console or a script makes it.
type task struct {
	calls    []*method
	min, max int // calls made at once
}

// draw returns how many calls one run makes and where in the list it starts.
func (t *task) draw(d *dice) (n, first int) {
	return t.min + d.below(t.max-t.min+1), d.below(len(t.calls))
}

var tasks = sync.OnceValue(func() map[string]*task {
	all := map[string]*task{}
	add := func(name string, least, most int, keys string) { all[name] = &task{methodsOf(keys), least, most} }
	add("ec2", 6, 12, `ec2:DescribeInstances DescribeInstanceStatus DescribeVolumes DescribeVolumeStatus DescribeSecurityGroups
		DescribeTags DescribeAddresses DescribeAvailabilityZones DescribeInstanceTypes DescribeInstanceAttribute DescribeKeyPairs
		DescribeImages DescribeAccountAttributes DescribeRegions DescribeLaunchTemplates DescribePlacementGroups DescribeHosts
		DescribeInstanceCreditSpecifications DescribeSnapshots elasticloadbalancing:DescribeLoadBalancers DescribeTargetGroups
		DescribeTargetHealth monitoring:DescribeAlarms autoscaling:DescribeAutoScalingGroups compute-optimizer:GetEnrollmentStatus
		health:DescribeEventAggregates`)
	add("vpc", 5, 10, `ec2:DescribeVpcs DescribeSubnets DescribeRouteTables DescribeInternetGateways DescribeNatGateways
		DescribeNetworkAcls DescribeNetworkInterfaces DescribeDhcpOptions DescribeVpcEndpoints DescribeVpcAttribute
		DescribeFlowLogs DescribeVpcPeeringConnections DescribeSecurityGroups`)
	add("s3", 5, 11, `s3:ListBuckets GetBucketLocation GetBucketAcl GetBucketPolicy GetBucketPolicyStatus
		GetBucketPublicAccessBlock GetBucketVersioning GetBucketTagging GetBucketEncryption GetBucketLogging GetBucketLifecycle
		GetBucketCors GetBucketWebsite GetBucketReplication GetBucketNotification GetBucketObjectLockConfiguration
		GetAccountPublicAccessBlock ListAccessPoints`)
	add("rds", 4, 8, `rds:DescribeDBInstances DescribeDBClusters DescribeDBSnapshots DescribeDBSubnetGroups
		DescribeDBEngineVersions DescribeOrderableDBInstanceOptions DescribeEvents ListTagsForResource DescribeRecommendations
		DescribePendingMaintenanceActions`)
	add("lambda", 4, 8, `lambda:ListFunctions GetFunction GetFunctionConfiguration ListEventSourceMappings GetPolicy
		ListVersionsByFunction GetFunctionCodeSigningConfig ListTags`)
	add("logs", 3, 7, `logs:DescribeLogGroups DescribeLogStreams DescribeMetricFilters StartQuery GetQueryResults FilterLogEvents
		ListTagsLogGroup`)
	add("metrics", 3, 7, `monitoring:DescribeAlarms ListDashboards GetDashboard DescribeInsightRules DescribeAnomalyDetectors
		tagging:GetResources GetTagKeys resource-groups:ListGroups xray:GetTraceSummaries GetSamplingRules`)
	add("iam", 5, 11, `iam:GetAccountSummary ListAccountAliases ListUsers ListRoles ListGroups ListPolicies GetUser ListMFADevices
		ListAccessKeys ListGroupsForUser ListAttachedUserPolicies ListUserPolicies GetRole ListAttachedRolePolicies
		ListRolePolicies GetRolePolicy GetPolicy GetPolicyVersion ListInstanceProfilesForRole`)
	add("users", 3, 6, `iam:GetUser ListGroupsForUser CreateUser AddUserToGroup CreateLoginProfile AttachUserPolicy TagUser
		CreateAccessKey UpdateAccessKey DeleteAccessKey RemoveUserFromGroup`)
	add("sync", 4, 6, `iam:ListUsers ListGroups ListGroupsForUser ListAttachedUserPolicies ListAccessKeys GetUser`)
	add("join", 5, 8, `iam:GetUser CreateUser CreateLoginProfile AddUserToGroup AttachUserPolicy CreateAccessKey TagUser ListAccessKeys`)
	add("leave", 2, 4, `iam:ListAccessKeys UpdateAccessKey DeleteAccessKey RemoveUserFromGroup`)
	add("roles", 3, 6, `iam:GetRole CreateRole AttachRolePolicy PutRolePolicy TagRole CreatePolicyVersion ListRolePolicies
		ListAttachedRolePolicies`)
	add("secrets", 3, 6, `sts:GetCallerIdentity secretsmanager:ListSecrets DescribeSecret GetSecretValue kms:Decrypt
		ssm:GetParameter DescribeParameters secretsmanager:GetSecretValue GetResourcePolicy ssm:GetParameters`)
	add("rotate", 2, 4, `secretsmanager:DescribeSecret GetSecretValue PutSecretValue ssm:PutParameter`)
	add("shell", 3, 6, `ssm:DescribeInstanceInformation ListInstanceAssociations StartSession TerminateSession SendCommand
		GetCommandInvocation`)
	add("launch", 4, 7, `ec2:DescribeImages DescribeInstanceTypes DescribeKeyPairs CreateKeyPair CreateSecurityGroup
		AuthorizeSecurityGroupIngress RunInstances CreateTags DescribeInstances ModifyInstanceAttribute StopInstances
		StartInstances TerminateInstances`)
	add("bake", 4, 6, `ec2:DescribeImages CreateKeyPair CreateSecurityGroup AuthorizeSecurityGroupIngress RunInstances CreateTags`)
	add("stacks", 4, 8, `cloudformation:ListStacks DescribeStacks DescribeStackEvents DescribeStackResources GetTemplate
		ValidateTemplate CreateChangeSet ExecuteChangeSet`)
	add("containers", 4, 9, `ecs:ListClusters DescribeClusters ListServices DescribeServices ListTasks DescribeTasks
		DescribeTaskDefinition UpdateService ecr:DescribeRepositories DescribeImages ListImages eks:ListClusters DescribeCluster
		ListNodegroups`)
	add("release", 6, 12, `sts:GetCallerIdentity ecr:GetAuthorizationToken BatchGetImage PutImage ecs:RegisterTaskDefinition
		UpdateService DescribeServices lambda:UpdateFunctionCode UpdateFunctionConfiguration GetFunction cloudformation:DescribeStacks
		CreateChangeSet ExecuteChangeSet DescribeStackEvents cloudfront:CreateInvalidation`)
	add("queues", 3, 7, `dynamodb:ListTables DescribeTable DescribeContinuousBackups sqs:ListQueues GetQueueAttributes
		sns:ListTopics GetTopicAttributes ListSubscriptions events:ListRules states:ListStateMachines DescribeExecution`)
	add("catalog", 4, 8, `glue:GetDatabases GetTables GetTable GetPartitions GetJobRuns StartJobRun`)
	add("queries", 4, 9, `athena:ListWorkGroups GetWorkGroup StartQueryExecution GetQueryExecution GetQueryResults glue:GetDatabases
		GetTables GetTable redshift:DescribeClusters`)
	add("costs", 4, 8, `ce:GetCostAndUsage GetCostForecast GetDimensionValues budgets:DescribeBudgets
		billingconsole:GetBillsForBillingPeriod freetier:GetAccountPlanState organizations:DescribeOrganization ListAccounts`)
	add("accounts", 2, 4, `organizations:DescribeOrganization ListAccounts ListRoots`)
	add("security", 4, 9, `cloudtrail:DescribeTrails GetTrailStatus GetEventSelectors LookupEvents guardduty:ListDetectors
		ListFindings GetFindings securityhub:DescribeHub GetFindings config:DescribeConfigRules DescribeConfigurationRecorders
		SelectResourceConfig access-analyzer:ListAnalyzers ListFindings`)
	add("dns", 3, 6, `route53:ListHostedZones ListResourceRecordSets ChangeResourceRecordSets cloudfront:ListDistributions
		GetDistribution CreateInvalidation`)
	add("objects", 3, 7, `s3:ListObjects GetObject PutObject GetObject`)
	add("upload", 1, 3, `s3:PutObject kms:GenerateDataKey`)
	add("config", 2, 4, `secretsmanager:GetSecretValue kms:Decrypt ssm:GetParameters GetParameter`)
	add("agent", 1, 1, `ssm:UpdateInstanceInformation`)
	add("node", 3, 5, `ec2:DescribeInstances ecr:GetAuthorizationToken BatchGetImage ec2:DescribeNetworkInterfaces
		DescribeInstanceTypes autoscaling:DescribeAutoScalingInstances`)
	add("work", 2, 4, `sqs:GetQueueAttributes dynamodb:DescribeTable s3:GetObject kms:Decrypt`)
	add("plan", 8, 16, `sts:GetCallerIdentity ec2:DescribeVpcs DescribeSubnets DescribeRouteTables DescribeSecurityGroups iam:GetRole
		ListAttachedRolePolicies ListRolePolicies GetPolicy GetPolicyVersion s3:ListBuckets GetBucketPolicy GetBucketVersioning
		GetBucketEncryption GetBucketTagging kms:DescribeKey ListAliases rds:DescribeDBInstances lambda:GetFunction
		secretsmanager:DescribeSecret route53:ListResourceRecordSets logs:DescribeLogGroups ec2:DescribeVpcAttribute
		organizations:DescribeOrganization`)
	add("observe", 4, 8, `monitoring:DescribeAlarms tagging:GetResources ec2:DescribeInstances DescribeVolumes DescribeTags
		elasticloadbalancing:DescribeLoadBalancers rds:DescribeDBInstances lambda:ListFunctions ecs:ListClusters DescribeClusters
		sqs:ListQueues autoscaling:DescribeAutoScalingGroups dynamodb:ListTables DescribeTable`)
	add("posture", 8, 14, `iam:ListUsers ListRoles ListPolicies GetAccountSummary ListAccessKeys ListMFADevices ListAttachedUserPolicies
		s3:ListBuckets GetBucketAcl GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketEncryption
		GetBucketLogging ec2:DescribeSecurityGroups DescribeInstances DescribeSnapshots DescribeFlowLogs DescribeRegions
		rds:DescribeDBSnapshots DescribeDBInstances cloudtrail:DescribeTrails GetTrailStatus GetEventSelectors
		kms:ListAliases DescribeKey lambda:ListFunctions GetPolicy secretsmanager:ListSecrets config:DescribeConfigurationRecorders
		guardduty:ListDetectors`)
	add("backup", 2, 5, `backup:ListBackupJobs StartBackupJob ec2:CreateSnapshot DescribeSnapshots rds:CreateDBSnapshot
		DescribeDBSnapshots`)
	add("ship", 1, 3, `logs:CreateLogStream DescribeLogStreams`)
	add("store", 2, 4, `s3:ListBuckets GetBucketLocation ListObjects PutObject`)
	add("identify", 1, 1, `sts:GetCallerIdentity`)
	add("token", 1, 1, `sts:AssumeRoleWithWebIdentity`)
	add("assume", 1, 1, `sts:AssumeRole`)
	add("trail", 1, 2, `kms:GenerateDataKey s3:GetBucketAcl`)
	add("delivery", 1, 1, `logs:CreateLogStream`)
	add("decrypt", 1, 2, `kms:Decrypt`)
	add("recorder", 3, 6, `ec2:DescribeInstances DescribeSecurityGroups DescribeVolumes s3:GetBucketAcl GetBucketPolicy iam:ListRoles
		lambda:ListTags rds:ListTagsForResource`)
	add("scaling", 1, 3, `ec2:DescribeInstanceStatus RunInstances elasticloadbalancing:DescribeTargetHealth`)
	add("rotation", 2, 2, `secretsmanager:RotationStarted RotationSucceeded`)
	add("rekey", 1, 1, `kms:RotateKey`)
	return all
})
