package postgres_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millrace/millrace/lease/postgres"
)

// A store on a pool that the program owns. Give it to worker.Config.Leases.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	store, err := postgres.New(pool, postgres.Config{Application: "fraud"})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil { // every worker may do so, at the same time
		log.Fatal(err)
	}
	for l, err := range store.Leases(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Key, l.Owner, l.Checkpoint.Position)
	}
}

// What Migrate would do, for people who run their migrations by other means.
func ExampleSQL() {
	text, err := postgres.SQL("leases", 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(text[:44])
	// Output:
	// BEGIN;
	// CREATE SCHEMA IF NOT EXISTS "leases";
}
