// Package provide gets for tests what the machine lacks.
//
//	Tool ── is it there? ──► run it
//	          │ no: as root, the system's packages (apt-get) ──► run it
//	          │ no: Docker ──► run it in a container, with its folder and its port
//	          └ no: ErrNone, with what was tried
//
//	Dir ── <user's cache>/millrace/<name> ── made once, by one process, whoever else waits
//	Install ── a Dir that commands of a Tool fill: npm, pip, mvn
//
// The packages' test binaries run at the same time, and each asks for what it
// needs: whoever comes first installs it, under a lock of the file system, and
// the others find it there.
package provide
