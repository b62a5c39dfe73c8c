package server

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

var noChannel = aws.String("arn:aws:kinesis:us-east-1:000000000000:channel/none")

func TestCreateChannelIsRefusedSinceNothingWouldBeDelivered(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	_, err := h.client().CreateChannel(t.Context(), &kinesis.CreateChannelInput{
		ChannelName: aws.String("c"), ServiceExecutionRoleARN: aws.String("arn:aws:iam::000000000000:role/r"),
		StreamConfigurationList: []types.ChannelStreamConfiguration{{StreamARN: aws.String(ordersARN), RecordConfiguration: &types.RecordConfiguration{RecordFormatType: types.RecordFormatTypeJson}}},
	})
	wantError[*types.ValidationException](t, err, "")
	h.post("CreateChannel", `{}`).wantFault(t, "ValidationException", "1 validation error detected: Value null at 'channelName' failed to satisfy constraint: Member must not be null")
}

func TestDescribeChannelFindsNone(t *testing.T) {
	_, err := start(t, Config{}).client().DescribeChannel(t.Context(), &kinesis.DescribeChannelInput{ChannelARN: noChannel})
	wantError[*types.ResourceNotFoundException](t, err, "Channel "+*noChannel+" not found.")
}

func TestUpdateChannelFindsNone(t *testing.T) {
	_, err := start(t, Config{}).client().UpdateChannel(t.Context(), &kinesis.UpdateChannelInput{ChannelARN: noChannel})
	wantError[*types.ResourceNotFoundException](t, err, "")
}

func TestDeleteChannelFindsNone(t *testing.T) {
	h := start(t, Config{})
	_, err := h.client().DeleteChannel(t.Context(), &kinesis.DeleteChannelInput{ChannelARN: noChannel})
	wantError[*types.ResourceNotFoundException](t, err, "")
	h.post("DeleteChannel", `{"ChannelARN":"nonsense"}`).wantFault(t, "ValidationException", "")
}

func TestListChannelsListsNone(t *testing.T) {
	h := start(t, Config{})
	h.create(1)
	out := must(h.client().ListChannels(t.Context(), &kinesis.ListChannelsInput{StreamFilter: []types.StreamFilter{{StreamARN: aws.String(ordersARN)}}}))(t)
	if len(out.ChannelSummaries) != 0 || out.NextToken != nil {
		t.Errorf("%+v", out)
	}
	h.post("ListChannels", `{"NextToken":"x"}`).wantFault(t, "InvalidArgumentException", "NextToken is invalid.")
}
