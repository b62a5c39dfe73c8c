package engine

const childVariable = "MILLRACE_ENGINE_TEST_CHILD"

func putUntilKilled() {}
