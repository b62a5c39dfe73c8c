// Starts an emulator on a port of the kernel's choice, and prints its URL. It ends
// with its standard input.
'use strict'
const net = require('node:net')
const [name, folder] = process.argv.slice(1)
process.stdin.on('end', () => process.exit(0)).resume()

const starts = {
  kinesalite() {
    const options = { shardLimit: 100, createStreamMs: 0 }
    if (folder) options.path = folder
    const server = require('kinesalite')(options)
    server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
  },
  async 'kinesis-mock'() {
    const [tls, plain] = [await freePort(), await freePort()]
    const folder = require('node:path').dirname(require.resolve('kinesis-local/package.json'))
    Object.assign(process.env, {
      KINESIS_MOCK_TLS_PORT: tls, KINESIS_MOCK_PLAIN_PORT: plain, LOG_LEVEL: 'ERROR',
      KINESIS_MOCK_CERT_PATH: `${folder}/server.json`, SHARD_LIMIT: 100, CREATE_STREAM_DURATION: '1ms',
    })
    require('kinesis-local')
    const look = () => {
      const c = net.connect(plain, '127.0.0.1')
      c.on('connect', () => { c.destroy(); console.log(`http://127.0.0.1:${plain}`) })
      c.on('error', () => setTimeout(look, 50))
    }
    look()
  },
}

function freePort() {
  return new Promise((done, failed) => {
    const s = net.createServer().on('error', failed)
    s.listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => done(port)) })
  })
}

starts[name]()
