-- Shares of limits. KEYS[1]: the base of all names, whose {tag} puts them into one slot of a cluster.
-- ARGV: run id of the server, node, incarnation, ms that leases hold, rows as JSON, "1" at the end of a full report, "2"
-- at the end of the last one, peers as JSON. Answers JSON: {run} when the server is another than the node believes, else {now, rows, ready}.
--
-- A limit is one hash: U used (and reserved), O granted and not used, per node n:<node> = taken, granted, incarnation;
-- of a sliding window also s:<slot>, and L, the oldest slot that counts; of periods P, when the present one ends. With the
-- next period U begins anew, and what nodes have left stays theirs: they need not be heard for that. U + O never grows beyond the limit.
-- W is the node that is short of it and R when it last said so. What is too little for one request is collected by that
-- node alone: two that each keep a part of the last cent would both wait for the other. Who needs more than there is,
-- wherever it lies, is told so at once and collects nothing.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if run ~= ARGV[1] then return cjson.encode({run = run}) end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local node, inc, ttl = ARGV[2], ARGV[3], tonumber(ARGV[4])
-- The run id in every name: what an older server left behind is not found.
local base = KEYS[1] .. ':' .. string.sub(run, 1, 12)
local of_node = base .. ':of:' .. node

redis.call('ZADD', base .. ':nodes', now, node)
if redis.call('SET', base .. ':born', now, 'NX') then
  for _, peer in ipairs(cjson.decode(ARGV[7])) do
    if peer ~= node then redis.call('SADD', base .. ':expected', peer) end
  end
end
if ARGV[6] ~= '0' then redis.call('SREM', base .. ':expected', node) end
local ready = redis.call('SCARD', base .. ':expected') == 0
  or now > tonumber(redis.call('GET', base .. ':born')) + ttl
local nodes = redis.call('ZCOUNT', base .. ':nodes', now - ttl, '+inf')
-- ms after which a node that says nothing more has lost its turn.
local TURN = 500

local function number(text) return tonumber(text or '0') or 0 end
local function text(n) return string.format('%.0f', n) end

-- What other nodes have left and would give; one that has not been heard lately would not.
local function spare(key)
  local all, sum = redis.call('HGETALL', key), 0
  for at = 1, #all, 2 do
    local other = string.match(all[at], '^n:(.*)$')
    if other and other ~= node then
      local a, b = string.match(all[at + 1], '^(%d+) (%d+) ')
      local seen = number(redis.call('ZSCORE', base .. ':nodes', other))
      if now - seen < 3000 then sum = sum + tonumber(b) - tonumber(a) end
    end
  end
  return sum
end

local function serve(row)
  local key = base .. ':l:' .. row.key
  local field = 'n:' .. node
  local found = redis.call('HMGET', key, 'U', 'O', field, 'L', 'W', 'R', 'P')
  local used, out, low = number(found[1]), number(found[2]), number(found[4])
  local collects = now - number(found[6]) < TURN and found[5] or nil
  local yields = collects ~= nil and collects ~= node
  local taken, granted, before = 0, 0, nil
  if found[3] then
    local a, b, c = string.match(found[3], '^(%d+) (%d+) (.*)$')
    taken, granted, before = tonumber(a), tonumber(b), c
  end
  local ends, current = row.ends, number(found[7])
  if ends > 0 and (ends <= now or current > now and ends > current) then
    -- The clock of that node is behind or ahead: its turn comes with the period.
    local asks = row.want > 0 and row.ahead == 0
    return {granted = row.granted, status = asks and 'settling' or 'ok', renewed = -1, recall = false, free = 0,
      elsewhere = 0, fair = row.granted}
  end
  if ends > 0 and current > 0 and current <= now then
    used = 0
    local all = redis.call('HGETALL', key)
    for at = 1, #all, 2 do
      if string.sub(all[at], 1, 2) == 'n:' then
        local a, b, c = string.match(all[at + 1], '^(%d+) (%d+) (.*)$')
        redis.call('HSET', key, all[at], '0 ' .. text(math.max(tonumber(b) - tonumber(a), 0)) .. ' ' .. c)
      end
    end
    taken, granted = 0, math.max(granted - taken, 0)
  else
    -- Whoever was first may have been ahead: what it has used is of that later period, and all others count with it until
    -- then. Those that turn take out of it what they had used before.
    ends = math.max(ends, current)
  end
  local sliding = row.slot_ms > 0
  local slot = sliding and math.floor(now / row.slot_ms) or 0
  if sliding then
    -- Any window touches 61 slots at most.
    if low == 0 then low = slot end
    local last = math.min(slot - 61, low + 122)
    while low <= last do
      local gone = number(redis.call('HGET', key, 's:' .. text(low)))
      if gone > 0 then
        used = used - gone
        redis.call('HDEL', key, 's:' .. text(low))
      end
      low = low + 1
    end
    if low <= slot - 61 then low = slot - 60 end
  end
  local function spend(n)
    used = used + n
    if sliding and n > 0 then redis.call('HINCRBY', key, 's:' .. text(slot), text(n)) end
    -- Of what is given back the oldest is taken, so that nothing is free earlier than it should be.
    local at = low
    while sliding and n < 0 and at <= slot do
      local there = number(redis.call('HGET', key, 's:' .. text(at)))
      local part = math.min(there, -n)
      if part > 0 then redis.call('HINCRBY', key, 's:' .. text(at), text(-part)) end
      n = n + part
      at = at + 1
    end
  end
  if before ~= nil and before ~= inc then
    -- Another process on the same node. What its predecessor held is not in use any more; of a sliding window nobody
    -- knows how much of it was.
    out = out - math.max(granted - taken, 0)
    if sliding then spend(math.max(granted - taken, 0)) else used = used - taken end
    taken, granted = 0, 0
  end
  local mine = math.max(row.granted, row.taken)
  out = out - math.max(granted - taken, 0) + (mine - row.taken)
  spend(row.taken - taken)
  taken, granted = row.taken, mine

  local status, give, renewed, elsewhere = 'ok', 0, -1, 0
  local free = row.max - used - out
  -- What every node keeps where the limit is far away, for when nobody can be asked: half of an even part of what it has
  -- left and nobody else has.
  local own = granted - taken
  local fair = math.max(0, math.floor((free + own) / (2 * nodes)))
  if row.want > 0 then
    local others = row.ahead == 0 and out > own and spare(key) or 0
    -- What the smallest of the waiting requests still lacks.
    local lacks = row.least - own
    local function over()
      status = 'exhausted'
      elsewhere = math.max(free - give, 0) + others
      if collects == node then redis.call('HDEL', key, 'W', 'R') end
      if sliding then
        local at, back = low, 0
        while at <= slot and back < lacks - give - elsewhere do
          back = back + number(redis.call('HGET', key, 's:' .. text(at)))
          at = at + 1
        end
        renewed = (at + 60) * row.slot_ms - now
      end
    end
    if not ready then
      status = 'settling'
    elseif row.ahead == 1 then
      -- Nobody waits for it: what other nodes have is theirs.
      if not yields and own * 4 < fair * 3 then give = fair - own end
    elseif free >= row.want then
      give = row.want
      if not yields then
        give = math.max(give, fair - own)
        if collects then redis.call('HDEL', key, 'W', 'R') end
      end
    elseif free + others < lacks then
      over()
    elseif yields then
      status = 'recall'
    else
      give = math.max(free, 0)
      if others == 0 then
        over()
      elseif give >= lacks then
        -- Enough for one at least. Who is still short asks anew, and others have their turn before.
        if collects then redis.call('HDEL', key, 'W', 'R') end
      else
        status = 'recall'
        redis.call('HSET', key, 'R', now, 'W', node)
        redis.call('PUBLISH', KEYS[1] .. ':recall', row.key .. ' ' .. node)
      end
    end
    granted = granted + give
    out = out + give
  end
  redis.call('HSET', key, 'U', text(used), 'O', text(out), 'L', text(low), 'S', text(row.slot_ms), 'H', row.held,
    'P', text(ends), field, text(taken) .. ' ' .. text(granted) .. ' ' .. inc)
  if row.keep_ms > 0 then redis.call('PEXPIRE', key, text(row.keep_ms)) end
  if granted > taken then redis.call('SADD', of_node, row.key) else redis.call('SREM', of_node, row.key) end
  local short = redis.call('HMGET', key, 'R', 'W')
  local recall = now - number(short[1]) < 1000 and short[2] ~= node
  return {granted = granted, status = status, renewed = renewed, recall = recall,
    free = row.max - used - out, elsewhere = elsewhere, fair = fair}
end

local answers = {}
for index, row in ipairs(cjson.decode(ARGV[5])) do answers[index] = serve(row) end
redis.call('PEXPIRE', of_node, 40 * 86400000)
if ARGV[6] == '2' then redis.call('ZREM', base .. ':nodes', node) end
local live = redis.call('ZRANGEBYSCORE', base .. ':nodes', now - ttl, '+inf')
return cjson.encode({now = now, rows = answers, ready = ready, peers = live})
