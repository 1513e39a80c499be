package generate

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// usualRest is what a record has besides its body, in bytes: measured over the default world.
const usualRest = 1110

// body makes `"requestParameters":…,"responseElements":…` of about so many bytes: names, numbers, ids, nested lists, and in every
// fifth a policy as a string full of escapes. Ids are by chance, so that it compresses about as well as what AWS writes.
func body(r *rand.Rand, size int) []byte {
	if size < 80 {
		return []byte(`"requestParameters":null,"responseElements":null`)
	}
	var b strings.Builder
	b.WriteString(`"requestParameters":`)
	if r.IntN(5) == 0 && size > 400 {
		fmt.Fprintf(&b, `{"name":"%s","policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::%s\/*\"}]}",`, word(r), word(r))
	} else {
		fmt.Fprintf(&b, `{"name":"%s",`, word(r))
	}
	half := size * 6 / 10
	if size < 300 {
		half = size - 40 // and nothing in the answer
	}
	list(&b, r, half)
	b.WriteString(`},"responseElements":`)
	if size-b.Len() < 60 {
		b.WriteString("null")
		return []byte(b.String())
	}
	fmt.Fprintf(&b, `{"requestId":"%08x-%04x-4%03x-8%03x-%012x",`, r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xfff, r.Uint32()&0xfff,
		r.Uint64()>>16)
	list(&b, r, size-2)
	b.WriteByte('}')
	return []byte(b.String())
}

// list writes `"items":[…]` until b has about the size.
func list(b *strings.Builder, r *rand.Rand, size int) {
	b.WriteString(`"items":[`)
	for first := true; ; first = false {
		var item string
		switch r.IntN(4) {
		case 0:
			item = fmt.Sprintf(`{"instanceId":"i-0%015x","currentState":{"code":%d,"name":"running"},"ebsOptimized":false}`, r.Uint64()>>4,
				16*r.IntN(5))
		case 1:
			item = fmt.Sprintf(`{"key":"%s","value":"%s"}`, word(r), word(r))
		case 2:
			item = fmt.Sprintf(`{"arn":"arn:aws:kms:eu-central-1:%012d:key/%08x-%04x","enabled":true}`, r.Uint64()%1e12, r.Uint32(),
				r.Uint32()&0xffff)
		default:
			item = fmt.Sprintf(`{"bucketName":"%s","size":%d,"etag":"%016x"}`, word(r), r.IntN(1<<24), r.Uint64())
		}
		if b.Len()+len(item)+1 > size {
			break
		}
		if !first {
			b.WriteByte(',')
		}
		b.WriteString(item)
	}
	b.WriteByte(']')
}

var words = strings.Fields(`payments orders ledger search billing export report image cache edge audit metrics session user profile
	catalog stock delivery mail invoice refund risk quote price sensor fleet route map tile media video ingest archive backup`)

func word(r *rand.Rand) string {
	return fmt.Sprintf("%s-%s-%03x", words[r.IntN(len(words))], words[r.IntN(len(words))], r.IntN(1<<12))
}
