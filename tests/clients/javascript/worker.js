// A member of a group that prints every step (tests/crash/many_members/step.rs), and leaves on request.
'use strict'

const { AssignerProtocol } = require('kafkajs')
const readline = require('readline')

// KafkaJS brings an assigner that no other client knows. This one has the name and the metadata that all of them share.
const range = ({ cluster }) => ({
  name: 'range',
  version: 0,
  async assign({ members, topics }) {
    const assigned = new Map(members.map(({ memberId }) => [memberId, {}]))
    const ids = [...assigned.keys()].sort()
    for (const topic of topics) {
      const partitions = cluster.findTopicPartitionMetadata(topic).map(p => p.partitionId)
      partitions.sort((a, b) => a - b)
      partitions.forEach((partition, n) => {
        const of = assigned.get(ids[Math.floor((n * ids.length) / partitions.length)])
        of[topic] = [...(of[topic] || []), partition]
      })
    }
    const encode = assignment => AssignerProtocol.MemberAssignment.encode({ version: 0, assignment, userData: Buffer.alloc(0) })
    return [...assigned].map(([memberId, of]) => ({ memberId, memberAssignment: encode(of) }))
  },
  protocol: ({ topics }) => ({
    name: 'range',
    metadata: AssignerProtocol.MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }),
  }),
})

module.exports = async (kafka, a) => {
  const micros = () => Math.floor((performance.timeOrigin + performance.now()) * 1000)
  const tell = (...what) => console.log(micros(), a.as, ...what)
  const consumer = kafka.consumer({
    groupId: a.group,
    partitionAssigners: [range],
    sessionTimeout: +a.session,
    rebalanceTimeout: +a.rebalance,
    heartbeatInterval: 1000,
    maxWaitTimeInMs: 200,
  })
  let [held, leaves, busy] = [[], false, 0]
  const gives = () => {
    if (held.length) tell('REVOKED', -1, held.join(','))
    held = []
  }
  const left = new Promise(done => {
    readline.createInterface({ input: process.stdin }).on('line', line => line === 'leave' && done())
  })
  consumer.on(consumer.events.REBALANCING, gives)
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    gives()
    held = (payload.memberAssignment[a.topic] || []).slice()
    tell('ASSIGNED', -1, held.join(','))
  })
  await consumer.connect()
  tell('JOINS')
  await consumer.subscribe({ topics: [a.topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, heartbeat }) => {
      if (leaves || !held.includes(batch.partition)) return
      busy++
      try {
        const { partition, messages } = batch
        const next = +messages.at(-1).offset + 1
        tell('READ', partition, messages[0].offset, messages.at(-1).offset)
        // Each batch at once: this client has no word for "before the partitions are taken".
        try {
          await consumer.commitOffsets([{ topic: a.topic, partition, offset: `${next}` }])
          tell('COMMITTED', -1, `${partition}:${next}`)
        } catch (e) {
          tell('FAILED', -1, `${partition}:${next}`, e.message)
          throw e
        }
      } finally {
        busy--
      }
      await heartbeat()
    },
  })
  await left
  leaves = true
  while (busy) await new Promise(done => setTimeout(done, 10))
  gives()
  await consumer.disconnect()
  tell('LEFT')
}
