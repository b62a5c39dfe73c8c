package clients

import (
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/testclients"
)

// session is typed by somebody who has read the AWS CLI's manual.
const session = `
aws kinesis create-stream --stream-name orders --shard-count 1
aws kinesis wait stream-exists --stream-name orders
aws kinesis describe-stream-summary --stream-name orders --query 'StreamDescriptionSummary.[StreamStatus,OpenShardCount]' --output text
aws kinesis list-streams --query StreamNames --output text

aws kinesis put-record --stream-name orders --partition-key 'клиент 7' --data 'größer' --query ShardId --output text
printf '\000\001\377' > blob
aws kinesis put-record --stream-name orders --partition-key b --data fileb://blob --query ShardId --output text
aws kinesis put-records --stream-name orders --records Data=one,PartitionKey=c Data=two,PartitionKey=d --query FailedRecordCount

iterator=$(aws kinesis get-shard-iterator --stream-name orders --shard-id shardId-000000000000 \
	--shard-iterator-type TRIM_HORIZON --query ShardIterator --output text)
aws kinesis get-records --shard-iterator "$iterator" --query 'Records[].[PartitionKey,Data]' --output text

aws kinesis split-shard --stream-name orders --shard-to-split shardId-000000000000 --new-starting-hash-key 170141183460469231731687303715884105728
aws kinesis wait stream-exists --stream-name orders
aws kinesis list-shards --stream-name orders --query 'Shards[].[ShardId,ParentShardId]' --output text

arn=$(aws kinesis describe-stream-summary --stream-name orders --query StreamDescriptionSummary.StreamARN --output text)
aws kinesis register-stream-consumer --stream-arn "$arn" --consumer-name alerts --query Consumer.ConsumerName --output text
aws kinesis list-stream-consumers --stream-arn "$arn" --query 'Consumers[].ConsumerName' --output text

aws kinesis delete-stream --stream-name orders --enforce-consumer-deletion
aws kinesis wait stream-not-exists --stream-name orders
aws kinesis describe-stream --stream-name orders 2>&1 || true
`

// printed is what AWS prints.
const printed = `ACTIVE	1
orders
shardId-000000000000
shardId-000000000000
0
клиент 7	Z3LDtsOfZXI=
b	AAH/
c	b25l
d	dHdv
shardId-000000000000	None
shardId-000000000001	shardId-000000000000
shardId-000000000002	shardId-000000000000
alerts
alerts

An error occurred (ResourceNotFoundException) when calling the DescribeStream operation: Stream orders under account 000000000000 not found.
`

func TestTheAWSCLIIsTypedAsAtAWS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Python for each line; not with -short")
	}
	t.Parallel()
	_, secure := serve(t, t.TempDir())
	got := testclients.Shell(t, secure, session)
	// Some versions end an error's text with a line more.
	if strings.TrimSpace(got) != strings.TrimSpace(printed) {
		t.Errorf("the shell printed:\n%s\nwant:\n%s", got, printed)
	}
}
