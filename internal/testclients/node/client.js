// Does what its standard input says, with the AWS SDK for JavaScript, until that is
// closed. The first line is {url, ca}, or {url}; each one after it {id, operation,
// input}, and all are under way at once. Answers: {version}, {id, output},
// {id, event} for each event of a subscription, {id, error}.
const readline = require('node:readline')
const sdk = require('@aws-sdk/client-kinesis')

function fromWire (key, value) {
  if (key === 'Data') return Buffer.from(value, 'base64')
  if (key.endsWith('Timestamp')) return new Date(value)
  return value
}

function toWire (key, value) {
  const raw = this[key]
  return raw instanceof Uint8Array ? Buffer.from(raw).toString('base64') : value
}

const say = answer => process.stdout.write(JSON.stringify(answer, toWire) + '\n')

const asError = error => ({
  code: error.name,
  type: error.constructor.name,
  status: error.$metadata?.httpStatusCode,
  request: error.$metadata?.requestId,
  message: error.message
})

let client

async function perform ({ id, operation, input }) {
  try {
    const { EventStream, $metadata, ...output } = await client.send(new sdk[operation + 'Command'](input))
    say({ id, output: { ...output } })
    if (!EventStream) return
    for await (const event of EventStream) {
      if (event.SubscribeToShardEvent) say({ id, event: event.SubscribeToShardEvent })
    }
    say({ id, end: true })
  } catch (error) {
    say({ id, error: asError(error) })
  }
}

readline.createInterface({ input: process.stdin }).on('line', line => {
  const order = JSON.parse(line, fromWire)
  if (client) return perform(order)
  client = new sdk.KinesisClient({
    region: 'us-east-1',
    endpoint: order.url,
    credentials: { accessKeyId: order.key, secretAccessKey: order.secret },
    maxAttempts: 1
  })
  say({ version: 'JavaScript ' + require('@aws-sdk/client-kinesis/package.json').version + ', Node ' + process.versions.node })
}).on('close', () => process.exit(0))
