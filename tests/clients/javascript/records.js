// The records that every client writes and checks, as JavaScript makes them. The rule: tests/support/records.rs.
'use strict'

const PATTERN = (() => {
  const out = Buffer.alloc(65536)
  let x = 1
  for (let j = 0; j < out.length; j++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff
    out[j] = 97 + ((x >> 16) & 15)
  }
  return out
})()

const key = (name, i) => Buffer.from(`${name}-${i}`)

function value(name, i) {
  if (i % 50 === 0) return null
  if (i % 50 === 1) return name === 'kcat' ? null : Buffer.alloc(0)
  const mixed = (Math.imul(i, 2654435761) >>> 0) >>> 8
  const start = mixed % 32768
  const length = i % 1000 === 999 ? 10000 : (mixed % 197) + 1
  return PATTERN.subarray(start, start + length)
}

// KafkaJS keeps headers as a map, values of one name together: the rule has no other order in it.
function headers(name, i) {
  if (name === 'kcat') return { client: Buffer.from('kcat') }
  const none = name === 'kafka-python' || name === 'kafkajs' ? Buffer.alloc(0) : null // They refuse to send null.
  const number = Buffer.from(`${i}`)
  switch (i % 5) {
    case 1:
      return { h: number }
    case 2:
      return { a: [Buffer.from('1'), Buffer.from('2')], b: Buffer.alloc(0) }
    case 3:
      return { n: none }
    case 4:
      return { client: Buffer.from(name), n: none, i: number }
    default:
      return {}
  }
}

class Difference extends Error {}

const same = (a, b) => (a === null || b === null ? a === b : Buffer.compare(a, b) === 0)

function sameHeaders(a, b) {
  const keys = Object.keys(a)
  if (keys.join() !== Object.keys(b).join()) return false
  return keys.every(k => {
    if (Array.isArray(a[k]) !== Array.isArray(b[k])) return false
    if (!Array.isArray(a[k])) return same(a[k], b[k])
    return a[k].length === b[k].length && a[k].every((v, n) => same(v, b[k][n]))
  })
}

// Every record of [first, end) exactly once, in order within each partition, offsets without a gap.
class Check {
  constructor(topic, name, first, end, base, partitions) {
    Object.assign(this, { topic, name, first, end, base, count: 0 })
    this.seen = new Uint8Array(end - first)
    this.next = new Array(partitions).fill(0)
    this.last = new Array(partitions).fill(-1)
    this.times = Array.from({ length: partitions }, () => [])
  }

  take(partition, r) {
    const where = `${this.topic}-${partition}@${r.offset}`
    if (Number(r.offset) !== this.next[partition]) {
      throw new Difference(`${where}: offset ${this.next[partition]} was expected next`)
    }
    this.next[partition]++
    const text = String(r.key)
    if (!text.startsWith(this.name + '-')) throw new Difference(`${where}: key ${text} is not of ${this.name}`)
    const i = Number(text.slice(this.name.length + 1))
    if (!(i >= this.first && i < this.end)) throw new Difference(`${where}: record ${i} is not in the range`)
    if (i <= this.last[partition]) {
      throw new Difference(`${where}: record ${i} after ${this.last[partition]}: the order is broken`)
    }
    this.last[partition] = i
    if (this.seen[i - this.first]) throw new Difference(`${where}: record ${i} twice`)
    this.seen[i - this.first] = 1
    const want = value(this.name, i)
    if (!same(r.value, want)) {
      throw new Difference(`${where}: record ${i}: value of ${r.value && r.value.length} bytes, ${want && want.length} expected`)
    }
    if (!sameHeaders(r.headers, headers(this.name, i))) {
      throw new Difference(`${where}: record ${i}: headers ${JSON.stringify(r.headers)}`)
    }
    const timestamp = Number(r.timestamp)
    if (this.name !== 'kcat' && timestamp !== this.base + i) {
      throw new Difference(`${where}: record ${i}: timestamp ${timestamp}, expected ${this.base + i}`)
    }
    this.times[partition].push(timestamp)
    this.count++
  }

  get complete() {
    return this.count === this.end - this.first
  }

  // What offsets-for-times must answer; past the last record KafkaJS answers the end.
  firstAtOrAfter(partition, timestamp) {
    const found = this.times[partition].findIndex(t => t >= timestamp)
    return found < 0 ? this.next[partition] : found
  }
}

function expect(what, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Difference(`${what}: got ${JSON.stringify(got)}, expected ${JSON.stringify(want)}`)
  }
}

async function until(what, seconds, condition) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const got = await condition()
    if (got) return got
    if (Date.now() > deadline) throw new Difference(`not within ${seconds} s: ${what}`)
    await new Promise(done => setTimeout(done, 50))
  }
}

module.exports = { key, value, headers, Check, Difference, expect, until }
