// Segment's library for Node as a client: six calls, then the error that each ended in, or null, as JSON on stdout.
// Takes the directory that the library is installed in, the destination's address and the write key.
import { createRequire } from 'node:module'

const [directory, host, writeKey] = process.argv.slice(2)
const { Analytics } = createRequire(`${directory}/`)('@segment/analytics-node')

const analytics = new Analytics({ writeKey, host, flushAt: 6, maxRetries: 0, httpRequestTimeout: 60_000 })
analytics.on('error', () => {}) // each call below hears of its own
const errors = {}
const note = (error, context) => {
  const reason = error ?? context.failedDelivery()?.reason
  errors[context.event.type] = reason ? String(reason) : null
}

const userId = 'u-1'
analytics.identify({ userId, traits: { email: 'ada@example.com', firstName: 'Ada', visits: 3 } }, note)
analytics.track({ userId, event: 'Order Completed', properties: { total: 42.5, coupon: null } }, note)
analytics.page({ userId, category: 'Docs', name: 'Home', properties: { url: 'https://example.com' } }, note)
analytics.screen({ userId, name: 'Cart' }, note)
analytics.group({ userId, groupId: 'g-1', traits: { name: 'Initech' } }, note)
analytics.alias({ userId, previousId: 'a-1' }, note)
await analytics.closeAndFlush({ timeout: 60_000 })
console.log(JSON.stringify(errors))
