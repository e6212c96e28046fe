const HEADER_MAX = 14

/** Follows the frames of one direction of a WebSocket (RFC 6455 §5.2) by their lengths only; their content is not looked at. */
export function createFrames() {
  const header = Buffer.alloc(HEADER_MAX)
  /** Bytes of the present frame’s header that were read; 0: between two frames. */
  let read = 0
  /** Bytes of its payload that are still to come; `undefined` while its header is not complete. */
  let missing: number | undefined

  /** @returns where the present frame, or else the next one, ends in the chunk; the chunk’s length when it does not */
  function step(chunk: Buffer, from: number): number {
    let at = from
    while (missing === undefined && at < chunk.length) {
      header[read] = chunk[at] ?? 0
      read += 1
      at += 1
      if (read === headerLength(header, read)) missing = payloadLength(header)
    }
    const taken = Math.min(missing ?? 0, chunk.length - at)
    if (missing !== undefined) missing -= taken
    if (missing === 0) {
      missing = undefined
      read = 0
    }
    return at + taken
  }

  return {
    /** Whether all frames that began have ended. */
    between: (): boolean => read === 0,
    /** Takes a chunk as a whole. */
    follow(chunk: Buffer): void {
      for (let at = 0; at < chunk.length; ) at = step(chunk, at)
    },
    /** Takes what belongs to the present frame. @returns how many bytes of the chunk that is */
    finish: (chunk: Buffer): number => (read === 0 ? 0 : step(chunk, 0)),
  }
}

function headerLength(header: Buffer, read: number): number {
  if (read < 2) return 2
  const second = header[1] ?? 0
  const length = second & 0x7f
  return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + (second & 0x80 ? 4 : 0)
}

function payloadLength(header: Buffer): number {
  const length = (header[1] ?? 0) & 0x7f
  if (length === 126) return header.readUInt16BE(2)
  return length === 127 ? Number(header.readBigUInt64BE(2)) : length
}
