// KafkaJS: the oldest protocol versions in wide use (Produce 7, Fetch 11, Metadata 6).
//
// Its consumer cannot read without a group. Here its own cluster, broker and record decoder read directly: the
// requests on the wire and the decoding of what comes back are KafkaJS's, only the group is left out.
'use strict'

const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const Cluster = require('kafkajs/src/cluster')
const socketFactory = require('kafkajs/src/network/socketFactory')
const { createLogger } = require('kafkajs/src/loggers')
const consoleLog = require('kafkajs/src/loggers/console')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')
const { key, value, headers, Check, Difference, expect, until } = require('./records.js')

const SECONDS = 60

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
// Not lz4js: its frames claim dependent blocks, which no Kafka client can read.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer, { defaultHeapSize: 4 << 20 })),
})

const TYPES = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const kafkaOf = bootstrap => new Kafka({ clientId: 'kafkajs', brokers: [bootstrap], logLevel: logLevel.WARN })

async function withAdmin(bootstrap, use) {
  const admin = kafkaOf(bootstrap).admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

const create = (bootstrap, topic, numPartitions) =>
  withAdmin(bootstrap, async admin => {
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, replicationFactor: 1 }] })
    // A record sent before every leader serves its partition may come late (acks=1) or never (acks=0).
    await until(`${topic} answers`, 60, async () => {
      const ends = await admin.fetchTopicOffsets(topic).catch(e => (e.retriable ? [] : Promise.reject(e)))
      return ends.length === numPartitions
    })
  })

async function write(bootstrap, topic, name, codec, acks, first, end, base) {
  const producer = kafkaOf(bootstrap).producer({ idempotent: acks === 'all', maxInFlightRequests: 1 })
  await producer.connect()
  for (let from = first; from < end; from += 2000) {
    const messages = []
    for (let i = from; i < Math.min(from + 2000, end); i++) {
      messages.push({ key: key(name, i), value: value(name, i), headers: headers(name, i), timestamp: `${base + i}` })
    }
    await producer.send({ topic, acks: acks === 'all' ? -1 : Number(acks), compression: TYPES[codec], messages })
  }
  await producer.disconnect()
}

function clusterOf(bootstrap) {
  return new Cluster({
    logger: createLogger({ level: logLevel.WARN, logCreator: consoleLog }),
    socketFactory: socketFactory(),
    brokers: [bootstrap],
    clientId: 'kafkajs-reader',
    connectionTimeout: 10000,
    authenticationTimeout: 10000,
    requestTimeout: 30000,
    enforceRequestTimeout: true,
    metadataMaxAge: 300000,
    allowAutoTopicCreation: false,
    retry: {},
    offsets: new Map(),
  })
}

async function read(bootstrap, topic, name, first, end, base, partitions) {
  const check = new Check(topic, name, first, end, base, partitions)
  const cluster = clusterOf(bootstrap)
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  const found = cluster.findTopicPartitionMetadata(topic)
  expect('partitions in the metadata', found.map(p => p.partitionId).sort(), [...Array(partitions).keys()])
  const deadline = Date.now() + SECONDS * 1000
  while (!check.complete) {
    if (Date.now() > deadline) throw new Difference(`${topic}: ${check.count} of ${end - first} records in time`)
    const leaders = new Map()
    for (const { partitionId, leader } of found) {
      leaders.set(leader, [
        ...(leaders.get(leader) || []),
        { partition: partitionId, fetchOffset: String(check.next[partitionId]), maxBytes: 1 << 20 },
      ])
    }
    for (const [leader, wanted] of leaders) {
      const broker = await cluster.findBroker({ nodeId: String(leader) })
      const answer = await broker.fetch({
        maxWaitTime: 100,
        minBytes: 1,
        maxBytes: 4 << 20,
        isolationLevel: 0,
        topics: [{ topic, partitions: wanted }],
      })
      for (const t of answer.responses) {
        for (const { partition, messages } of t.partitions) {
          // A batch that begins before the offset asked for comes whole.
          const from = check.next[partition]
          for (const r of messages) if (Number(r.offset) >= from) check.take(partition, r)
        }
      }
    }
  }
  await cluster.disconnect()
  await withAdmin(bootstrap, async admin => {
    const byPartition = list => list.sort((a, b) => a.partition - b.partition)
    const ends = byPartition(await admin.fetchTopicOffsets(topic))
    expect(`${topic} ends`, ends.map(o => Number(o.high)), check.next)
    expect(`${topic} starts`, ends.map(o => Number(o.low)), check.next.map(() => 0))
    if (name === 'kcat') return
    for (const t of [base + first, base + Math.floor((first + end) / 2), base + end - 1, base + end]) {
      const got = byPartition(await admin.fetchTopicOffsetsByTimestamp(topic, t))
      expect(`${topic} offsets for time ${t}`, got.map(o => Number(o.offset)), check.next.map((_, p) => check.firstAtOrAfter(p, t)))
    }
  })
}

async function failsWith(what, type, call) {
  try {
    await call()
  } catch (e) {
    const inner = e.errors ? e.errors[0] : e
    expect(`error of ${what}`, inner.type || inner.message, type)
    return
  }
  throw new Difference(`${what} succeeded; ${type} was expected`)
}

async function admin(bootstrap, topic) {
  await withAdmin(bootstrap, async admin => {
    const wanted = {
      topic,
      numPartitions: 3,
      replicationFactor: 1,
      configEntries: [{ name: 'retention.ms', value: '123456789' }],
    }
    expect('created', await admin.createTopics({ waitForLeaders: true, topics: [wanted] }), true)
    expect('created twice', await admin.createTopics({ topics: [wanted] }), false)
    await failsWith('a bad name', 'INVALID_TOPIC_EXCEPTION', () =>
      admin.createTopics({ topics: [{ topic: 'not a name', numPartitions: 1, replicationFactor: 1 }] })
    )
    await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ ...wanted, topic: topic + '-validated' }] })
    const names = await admin.listTopics()
    expect('listed', names.includes(topic), true)
    expect('validated is not created', names.includes(topic + '-validated'), false)
    const cluster = await admin.describeCluster()
    const nodes = cluster.brokers.map(b => b.nodeId)
    expect('the controller is a broker', nodes.includes(cluster.controller), true)
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    expect('partitions', topics[0].partitions.map(p => p.partitionId).sort(), [0, 1, 2])
    expect('leaders', topics[0].partitions.every(p => nodes.includes(p.leader)), true)
    const configs = await admin.describeConfigs({ resources: [{ type: 2, name: topic }], includeSynonyms: false })
    const retention = configs.resources[0].configEntries.find(c => c.configName === 'retention.ms')
    expect('retention.ms', retention.configValue, '123456789')

    await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
    await until('5 partitions', 30, async () => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      return topics[0].partitions.length === 5
    })
    await write(bootstrap, topic, 'kafkajs', 'gzip', 'all', 0, 1000, Date.now() - 100000)
    const offsets = await admin.fetchTopicOffsets(topic)
    expect('the ends together', offsets.reduce((sum, o) => sum + Number(o.high), 0), 1000)

    await admin.deleteTopics({ topics: [topic] })
    await until('the topic is gone', 30, async () => !(await admin.listTopics()).includes(topic))
  })
}

async function bulk(a) {
  for (const c of a.cases.split(',')) {
    const [codec, acks] = c.split(':')
    const [name, topic, count, base, partitions] = [a.as, `${a.as}-${codec}-${acks}`, +a.count, +a.base, +a.partitions]
    const started = Date.now()
    await create(a.bootstrap, topic, partitions)
    await write(a.bootstrap, topic, name, codec, acks, 0, count, base)
    const wrote = Date.now()
    await read(a.bootstrap, topic, name, 0, count, base, partitions)
    const seconds = ms => (ms / 1000).toFixed(2)
    console.log(`OK ${name} ${codec} ${acks} ${count} ${seconds(wrote - started)} ${seconds(Date.now() - wrote)}`)
  }
}

// Reads as a member of a group until no record arrives for a while, commits its offsets, and leaves.
async function member(bootstrap, topic, group, silence) {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR })
  // A fetch without offsets yet sleeps as long as an empty one waits: by default as long as the silence that ends this.
  const consumer = kafka.consumer({ groupId: group, maxWaitTimeInMs: 500 })
  const got = new Map()
  let [assigned, until] = [false, Date.now() + 30000] // The first assignment takes its time.
  consumer.on(consumer.events.GROUP_JOIN, () => (assigned = true))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      if (!got.has(partition)) got.set(partition, [])
      got.get(partition).push(+message.offset)
      until = Date.now() + silence * 1000
    },
  })
  while (Date.now() < until) await new Promise(done => setTimeout(done, 100))
  await consumer.stop()
  await consumer.disconnect()
  expect('an assignment', assigned, true)
  for (const [p, offsets] of got) console.log(`MEMBER ${p} ${offsets[0]} ${offsets.at(-1)} ${offsets.length}`)
}

async function main() {
  await zstd.init()
  const a = Object.fromEntries(process.argv.slice(3).map(pair => pair.split(/=(.*)/s).slice(0, 2)))
  switch (process.argv[2]) {
    case 'bulk':
      return bulk(a)
    case 'write':
      await write(a.bootstrap, a.topic, a.as, a.codec, a.acks, +a.from, +a.to, +a.base)
      return console.log(`WROTE ${a.topic} ${a.codec} ${a.to - a.from}`)
    case 'read':
      for (const pair of a.topics.split(',')) {
        const [topic, name] = pair.split('=')
        const started = Date.now()
        await read(a.bootstrap, topic, name, +a.from, +a.to, +a.base, +a.partitions)
        console.log(`READ ${topic} ${a.to - a.from} ${((Date.now() - started) / 1000).toFixed(2)}`)
      }
      return
    case 'transactions':
      await require('./transactions.js')(kafkaOf(a.bootstrap), a.topic, +a.partitions, +a.count)
      return console.log('OK transactions')
    case 'member':
      return member(a.bootstrap, a.topic, a.group, +a.silence)
    case 'worker':
      return require('./worker.js')(kafkaOf(a.bootstrap), a)
    case 'admin':
      await admin(a.bootstrap, a.topic)
      return console.log('OK admin')
    default:
      throw new Difference(`unknown mode ${process.argv[2]}`)
  }
}

main().then(
  () => process.exit(0),
  e => {
    console.log(e instanceof Difference ? `DIFF ${e.message}` : e.stack)
    process.exit(1)
  }
)
