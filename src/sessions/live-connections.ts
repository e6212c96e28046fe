import type { Permission } from '../config/schema.ts'
import { covers } from '../shares/permissions.ts'

/** Something that must stop the moment its session ends: a WebSocket, a response that still streams. */
type Cut = () => void

interface Connection {
  readonly cut: Cut
  /** What its session was allowed when it came through the door. */
  readonly permissions: readonly Permission[]
}

export type LiveConnections = ReturnType<typeof createLiveConnections>

/** Which connections of this process belong to which session. */
export function createLiveConnections() {
  const bySession = new Map<string, Set<Connection>>()
  return {
    /** @returns the function to call when the connection ended by itself */
    add(idHash: string, cut: Cut, permissions: readonly Permission[] = []): () => void {
      const connections = bySession.get(idHash) ?? new Set()
      const connection = { cut, permissions }
      bySession.set(idHash, connections)
      connections.add(connection)
      return () => {
        connections.delete(connection)
        if (connections.size === 0 && bySession.get(idHash) === connections) bySession.delete(idHash)
      }
    },

    /** Closes all connections of a session. @returns how many there were */
    cut(idHash: string): number {
      const connections = bySession.get(idHash)
      bySession.delete(idHash)
      for (const { cut } of connections ?? []) cut()
      return connections?.size ?? 0
    },

    /** Closes the connections of a session that came in with more than it is allowed now. */
    cutBeyond(idHash: string, permissions: readonly Permission[]): void {
      for (const connection of [...(bySession.get(idHash) ?? [])])
        if (!covers(permissions, connection.permissions)) connection.cut()
    },

    count: (idHash: string): number => bySession.get(idHash)?.size ?? 0,

    /** The sessions that have a connection open now. */
    sessions: (): string[] => [...bySession.keys()],
  }
}
