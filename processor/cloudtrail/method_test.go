package cloudtrail

import "testing"

func TestMethod(t *testing.T) {
	if MethodNormaliser != 1 {
		t.Error("another version of the rule needs another table")
	}
	for _, c := range [][3]string{
		{"iam.amazonaws.com", "CreateUser", "iam:CreateUser"},
		{"lambda.amazonaws.com", "ListFunctions20150331", "lambda:ListFunctions"},
		{"lambda.amazonaws.com", "GetFunction20150331v2", "lambda:GetFunction"},
		{"lambda.amazonaws.com", "UpdateFunctionCode20150331v12", "lambda:UpdateFunctionCode"},
		{"lambda.amazonaws.com", "GetAccountSettings20160819", "lambda:GetAccountSettings"},
		{"lambda.amazonaws.com", "Invoke", "lambda:Invoke"},
		{"cloudfront.amazonaws.com", "CreateFunction2020_05_31", "cloudfront:CreateFunction"},
		{"cloudfront.amazonaws.com", "CreateDistributionWithTags2016_01_28v2", "cloudfront:CreateDistributionWithTags"},
		{"cloudfront.amazonaws.com", "ListDistributions", "cloudfront:ListDistributions"},
		// no API versions
		{"s3.amazonaws.com", "ListObjectsV2", "s3:ListObjectsV2"},
		{"s3.amazonaws.com", "GetBucketV2", "s3:GetBucketV2"},
		{"lambda.amazonaws.com", "GetFunctionV2", "lambda:GetFunctionV2"},
		{"lambda.amazonaws.com", "GetFunctionv2", "lambda:GetFunctionv2"},
		{"lambda.amazonaws.com", "Get20151331", "lambda:Get20151331"},
		{"lambda.amazonaws.com", "Get20150332", "lambda:Get20150332"},
		{"lambda.amazonaws.com", "Get20150300", "lambda:Get20150300"},
		{"lambda.amazonaws.com", "Get19990331", "lambda:Get19990331"},
		{"lambda.amazonaws.com", "Get120150331", "lambda:Get120150331"},
		{"lambda.amazonaws.com", "Get2015_03-31", "lambda:Get2015_03-31"},
		{"lambda.amazonaws.com", "Get20150331v", "lambda:Get20150331v"},
		{"lambda.amazonaws.com", "20150331", "lambda:20150331"},
		{"lambda.amazonaws.com", "2", "lambda:2"},
		{"route53.amazonaws.com", "ListThings20150331", "route53:ListThings20150331"},
		{"ec2.amazonaws.com", "Call2020_05_31", "ec2:Call2020_05_31"},
		// other sources
		{"iam.amazonaws.com.cn", "CreateUser", "iam.amazonaws.com.cn:CreateUser"},
		{"my-own-source", "Thing", "my-own-source:Thing"},
	} {
		e := Event{EventSource: c[0], EventName: c[1]}
		if got := string(e.AppendMethod([]byte(">"))); got != ">"+c[2] {
			t.Errorf("%s %s: got %s, want %s", c[0], c[1], got[1:], c[2])
		}
	}
}
