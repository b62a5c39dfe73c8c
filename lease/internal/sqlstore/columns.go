package sqlstore

import "fmt"

// Blob returns data as it is stored: nothing is an empty blob, and not NULL.
func Blob(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// Parse reads the text of a column by way of read. Its error names the column.
func Parse[T any](column, text string, into *T, read func(string) (T, error)) (err error) {
	if *into, err = read(text); err != nil {
		return fmt.Errorf("column %s: %w", column, err)
	}
	return nil
}
