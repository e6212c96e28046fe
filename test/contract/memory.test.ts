import { createMemoryStore } from '../../src/store/memory.ts'
import { START, storeContract } from './store.ts'

storeContract('memory', async () => {
  let time = START
  const now = () => time
  return {
    store: createMemoryStore({ now }),
    now,
    async advance(seconds) {
      time += seconds
    },
  }
})
