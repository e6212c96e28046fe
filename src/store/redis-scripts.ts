/**
 * What happens in Redis at once, or not at all. Names that end up in the database begin with `PREFIX`. Every number that is
 * a time is epoch seconds by our own clock, but for the leases of the bus, which Redis’ own clock measures.
 */
export const PREFIX = 'ocm:'
/** Where messages of the bus are published. Channels are common to all databases of a server. */
export const busOf = (db: number) => `${PREFIX}${db} bus`
/** Where the names of locks are published that were freed. */
export const freedOf = (db: number) => `${PREFIX}${db} freed`
/** Processes that may believe what they keep in memory, each with the end of its lease. */
export const REPLICAS = `${PREFIX}replicas`
/** Every live session by its deadline. */
export const DUE = `${PREFIX}sessions due`

/** What no gateway ended for so long is forgotten; a session’s end is otherwise told. */
export const FORGOTTEN_SECONDS = 7 * 86_400

/** Messages are counted, so that a gap shows. The answer: who may still believe what it keeps. */
const tellOn = (bus: string) => `
local function tell(sender, message)
  local time = redis.call('TIME')
  local number = redis.call('INCR', '${PREFIX}messages')
  redis.call('PUBLISH', '${bus}', number .. ' ' .. sender .. ' ' .. message)
  return redis.call('ZRANGE', '${REPLICAS}', '(' .. time[1] .. '.' .. string.format('%06d', time[2]), '+inf', 'BYSCORE')
end
`

/** A session is in three indexes, whose keys it knows itself, and among all by its deadline. */
const INDEXES = `
local function indexes(session)
  local keys = redis.call('HMGET', session, 'byDomain', 'byWebapp', 'byShare')
  keys[4] = '${DUE}'
  return keys
end
local function leave(session, id)
  for _, index in ipairs(indexes(session)) do redis.call('ZREM', index, id) end
end
local function enter(session, id, deadline, now, ttl)
  redis.call('PEXPIRE', session, ttl)
  for _, index in ipairs(indexes(session)) do
    redis.call('ZREMRANGEBYSCORE', index, '-inf', now - ${FORGOTTEN_SECONDS})
    redis.call('ZADD', index, deadline, id)
    redis.call('PEXPIRE', index, ttl, 'NX')
    redis.call('PEXPIRE', index, ttl, 'GT')
  end
end
`

const FORGET_NOTES = `
local function forget(ids, expiring, prefix, now, limit)
  local gone = redis.call('ZRANGE', expiring, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  for _, id in ipairs(gone) do
    redis.call('DEL', prefix .. id)
    redis.call('ZREM', ids, id)
    redis.call('ZREM', expiring, id)
  end
  return #gone
end
local function put(id, data, expiresAt, ttl, space)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'data', data)
  redis.call('ZADD', KEYS[2], 0, id)
  redis.call('SADD', KEYS[4], space)
  if expiresAt == '' then
    redis.call('ZREM', KEYS[3], id)
  else
    redis.call('HSET', KEYS[1], 'expiresAt', expiresAt)
    redis.call('PEXPIRE', KEYS[1], ttl)
    redis.call('ZADD', KEYS[3], expiresAt, id)
  end
end
`

/** Makes something new, and is refused when the memory of Redis is full. Everything else must go on then, revocations first. */
const MAKES = '#!lua\n'
const GOES_ON = '#!lua flags=allow-oom\n'

const REPLACE_SHARE = `
local share, to, from = unpack(KEYS)
local previous, next, ttl, id, keepUntil, now, limit = unpack(ARGV)
if (redis.call('GET', share) or '') ~= previous then return 0 end
redis.call('ZREMRANGEBYSCORE', to, '-inf', now)
if limit ~= '' and redis.call('ZCARD', to) >= tonumber(limit) then return 0 end
redis.call('SET', share, next)
if ttl ~= '' then redis.call('PEXPIRE', share, ttl) end
redis.call('ZREM', from, id)
redis.call('ZADD', to, keepUntil, id)
return 1`

export type Scripts = ReturnType<typeof scriptsOf>

export function scriptsOf(db: number) {
  const TELL = tellOn(busOf(db))
  return {
    /** Replaces what is kept of a share, when it is still what was read, and there is still room where it goes. */
    putShare: { numberOfKeys: 3, lua: MAKES + REPLACE_SHARE },
    revokeShare: { numberOfKeys: 3, lua: GOES_ON + REPLACE_SHARE },

    openSession: {
      numberOfKeys: 2,
      lua: `${MAKES}${INDEXES}
local session, byDomain = unpack(KEYS)
local id, deadline, now, ttl, limit = unpack(ARGV)
redis.call('ZREMRANGEBYSCORE', byDomain, '-inf', now - ${FORGOTTEN_SECONDS})
if redis.call('ZCARD', byDomain) >= tonumber(limit) then return 0 end
redis.call('HSET', session, unpack(ARGV, 6))
enter(session, id, deadline, now, ttl)
return 1`,
    },

    updateSession: {
      numberOfKeys: 1,
      lua: `${GOES_ON}${INDEXES}${TELL}
local session = KEYS[1]
local id, deadline, now, ttl, from, sender, message = unpack(ARGV)
local state, data = unpack(redis.call('HMGET', session, 'state', 'data'))
if state ~= 'live' or data ~= from then return false end
leave(session, id)
redis.call('HSET', session, unpack(ARGV, 8))
enter(session, id, deadline, now, ttl)
return tell(sender, message)`,
    },

    touchSession: {
      numberOfKeys: 1,
      lua: `${GOES_ON}${INDEXES}
local session = KEYS[1]
local id, deadline, now, ttl = unpack(ARGV)
if redis.call('HGET', session, 'state') ~= 'live' then return 0 end
redis.call('HSET', session, 'deadline', deadline)
enter(session, id, deadline, now, ttl)
return 1`,
    },

    /** The answer: the fields of the session that was, and who has to hear of it. */
    endSession: {
      numberOfKeys: 1,
      lua: `${GOES_ON}${INDEXES}${TELL}
local session = KEYS[1]
local id, ttl, sender, message = unpack(ARGV)
if redis.call('HGET', session, 'state') ~= 'live' then return false end
local row = redis.call('HMGET', session, 'webapp', 'senderDomain', 'shareId', 'deadline', 'data')
leave(session, id)
redis.call('DEL', session)
redis.call('HSET', session, unpack(ARGV, 5))
if ttl ~= '' then redis.call('PEXPIRE', session, ttl) end
return { row, tell(sender, message) }`,
    },

    putWorkload: {
      numberOfKeys: 1,
      lua: `${MAKES}${TELL}
local name, written, sender, message = unpack(ARGV)
redis.call('HSET', KEYS[1], name, written)
return tell(sender, message)`,
    },

    deleteWorkload: {
      numberOfKeys: 1,
      lua: `${GOES_ON}${TELL}
local name, sender, message = unpack(ARGV)
redis.call('HDEL', KEYS[1], name)
return tell(sender, message)`,
    },

    putNote: {
      numberOfKeys: 4,
      lua: `${MAKES}${FORGET_NOTES}
local prefix, now, id, data, expiresAt, ttl, space = unpack(ARGV)
forget(KEYS[2], KEYS[3], prefix, now, 16)
put(id, data, expiresAt, ttl, space)
return 1`,
    },

    /** Nothing must be there, or exactly what was read. */
    replaceNote: {
      numberOfKeys: 4,
      lua: `${MAKES}${FORGET_NOTES}
local prefix, now, id, data, expiresAt, ttl, space, absent, from = unpack(ARGV)
forget(KEYS[2], KEYS[3], prefix, now, 16)
local held, heldUntil = unpack(redis.call('HMGET', KEYS[1], 'data', 'expiresAt'))
if heldUntil and tonumber(heldUntil) <= tonumber(now) then held = false end
if absent == '1' then
  if held then return 0 end
elseif held ~= from then
  return 0
end
put(id, data, expiresAt, ttl, space)
return 1`,
    },

    deleteNote: {
      numberOfKeys: 3,
      lua: `${GOES_ON}
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1`,
    },

    forgetNotes: {
      numberOfKeys: 2,
      lua: `${GOES_ON}${FORGET_NOTES}
local prefix, now, limit = unpack(ARGV)
return forget(KEYS[1], KEYS[2], prefix, now, limit)`,
    },

    /**
     * Reads as if they wrote: a server that must not write any more refuses them, since what it has may be out of date.
     */
    readShare: { numberOfKeys: 1, lua: `${GOES_ON}return redis.call('GET', KEYS[1])` },
    readSession: { numberOfKeys: 1, lua: `${GOES_ON}return redis.call('HGETALL', KEYS[1])` },

    /** One beat of the bus; with a lease, this process may believe what it keeps until the lease ends. */
    beat: {
      numberOfKeys: 0,
      lua: `${GOES_ON}${TELL}
local sender, message, lease = unpack(ARGV)
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', '${REPLICAS}', '-inf', time[1])
if lease ~= '' then redis.call('ZADD', '${REPLICAS}', (time[1] + lease) .. '.' .. string.format('%06d', time[2]), sender) end
redis.call('PEXPIRE', '${REPLICAS}', 60000)
return tell(sender, message)`,
    },

    renewLock: {
      numberOfKeys: 1,
      lua: `${GOES_ON}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`,
    },

    releaseLock: {
      numberOfKeys: 1,
      lua: `${GOES_ON}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return redis.call('PUBLISH', '${freedOf(db)}', KEYS[1])`,
    },
  } as const
}
