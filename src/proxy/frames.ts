/** Follows the frames of one direction of a WebSocket (RFC 6455 §5.2) by their lengths only; their content is not looked at. */
export class Frames {
  /** Bytes of the present frame’s header that were read; 0: between two frames. */
  #read = 0
  /** How many bytes the header has, as far as is known: its second byte tells. */
  #headerLength = 2
  /** How many of them are a longer length. */
  #extended = 0
  /** Bytes of its payload that are still to come. */
  #missing = 0

  /** Whether all frames that began have ended. */
  get between(): boolean {
    return this.#read === 0
  }

  /** Takes a chunk as a whole. */
  follow(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) at = this.#step(chunk, at)
  }

  /** Takes what belongs to the present frame. @returns how many bytes of the chunk that is */
  finish(chunk: Buffer): number {
    return this.between ? 0 : this.#step(chunk, 0)
  }

  /** @returns where the present frame, or else the next one, ends in the chunk; the chunk’s length when it does not */
  #step(chunk: Buffer, from: number): number {
    let at = from
    while (this.#read < this.#headerLength && at < chunk.length) {
      this.#readHeader(chunk[at] ?? 0)
      at += 1
    }
    const taken = Math.min(this.#missing, chunk.length - at)
    this.#missing -= taken
    if (this.#read === this.#headerLength && this.#missing === 0) {
      this.#read = 0
      this.#headerLength = 2
    }
    return at + taken
  }

  #readHeader(byte: number): void {
    const length = byte & 0x7f
    if (this.#read === 1) {
      const extended = length === 126 ? 2 : length === 127 ? 8 : 0
      this.#headerLength = 2 + extended + (byte & 0x80 ? 4 : 0)
      this.#missing = extended === 0 ? length : 0
      this.#extended = extended
    } else if (this.#read > 1 && this.#read < 2 + this.#extended) this.#missing = this.#missing * 256 + byte
    this.#read += 1
  }
}
