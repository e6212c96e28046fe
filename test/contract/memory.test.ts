import { openStore } from '../../src/store/open.ts'
import { START, storeContract } from './store.ts'

storeContract('memory', async () => {
  let time = START
  const now = () => time
  return {
    store: openStore({ kind: 'memory' }, { now }),
    now,
    async advance(seconds) {
      time += seconds
    },
  }
})
