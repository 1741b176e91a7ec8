// Reads [[base64 chunk, …], …] from stdin; writes what eventsource-parser sees in each stream, as JSON.
import { createParser } from 'eventsource-parser'
import { readFileSync } from 'node:fs'

function parse(chunks) {
  const events = []
  let lastEventId = ''
  let retry = null
  const parser = createParser({
    onEvent(event) {
      // The parser gives the block's own id; keeping the last one is left to its user.
      lastEventId = event.id ?? lastEventId
      events.push([event.event ?? 'message', event.data, lastEventId])
    },
    onRetry(value) {
      retry = String(value)
    },
  })
  const decoder = new TextDecoder() // strips a leading BOM, as a TextDecoderStream does
  for (const chunk of chunks) parser.feed(decoder.decode(Buffer.from(chunk, 'base64'), { stream: true }))
  return { events, lastEventId, retry }
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(parse)))
