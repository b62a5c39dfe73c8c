// Serves dynalite on the address and the port that it is given, of which it prints
// the port, until its standard input is closed.
const [host, port] = process.argv.slice(1)
const server = require('dynalite')({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
// Longer than clients keep connections: one that is closed just when a request is
// sent looks like an answer that was lost.
server.keepAliveTimeout = 10 * 60 * 1000
server.listen(Number(port), host, () => console.log(server.address().port))
process.stdin.on('end', () => process.exit(0)).resume()
// It throws when a client goes away in the middle of a request, which is no
// reason to go away from all the others.
process.on('uncaughtException', err => {
  if (err.code === 'ECONNRESET') return
  console.error(err)
  process.exit(1)
})
