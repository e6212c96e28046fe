/** Something that must stop the moment its session ends: a WebSocket, a response that still streams. */
type Cut = () => void

export type LiveConnections = ReturnType<typeof createLiveConnections>

/** Which connections of this process belong to which session. */
export function createLiveConnections() {
  const bySession = new Map<string, Set<Cut>>()
  return {
    /** @returns the function to call when the connection ended by itself */
    add(idHash: string, cut: Cut): () => void {
      const cuts = bySession.get(idHash) ?? new Set()
      bySession.set(idHash, cuts)
      cuts.add(cut)
      return () => {
        cuts.delete(cut)
        if (cuts.size === 0 && bySession.get(idHash) === cuts) bySession.delete(idHash)
      }
    },

    /** Closes all connections of a session. @returns how many there were */
    cut(idHash: string): number {
      const cuts = bySession.get(idHash)
      bySession.delete(idHash)
      for (const cut of cuts ?? []) cut()
      return cuts?.size ?? 0
    },

    /** The sessions that have a connection open now. */
    sessions: (): string[] => [...bySession.keys()],
  }
}
