package testdynamo

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

func TestMain(m *testing.M) { Main(m) }

func TestEachAPIAnswers(t *testing.T) {
	Each(t, func(t *testing.T, api API) {
		t.Logf("%s at %s", api.Name, api.URL)
		if _, err := api.Client(t, nil).ListTables(t.Context(), &dynamodb.ListTablesInput{}); err != nil {
			t.Error(err)
		}
	})
}
