-- Takes back what nodes hold that have not been heard for longer than their leases last.
-- KEYS[1]: base. ARGV: run id, ms of silence, most limits at once. Answers how many limits were freed.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if run ~= ARGV[1] then return 0 end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local base = KEYS[1] .. ':' .. string.sub(run, 1, 12)
local freed, most = 0, tonumber(ARGV[3])
local function text(n) return string.format('%.0f', n) end
for _, node in ipairs(redis.call('ZRANGEBYSCORE', base .. ':nodes', '-inf', now - tonumber(ARGV[2]))) do
  local of_node = base .. ':of:' .. node
  while freed < most do
    local name = redis.call('SPOP', of_node)
    if not name then
      redis.call('ZREM', base .. ':nodes', node)
      break
    end
    local key, field = base .. ':l:' .. name, 'n:' .. node
    local stands = redis.call('HGET', key, field)
    if stands then
      local a, b, inc = string.match(stands, '^(%d+) (%d+) (.*)$')
      local taken, granted = tonumber(a), tonumber(b)
      local rest = math.max(granted - taken, 0)
      redis.call('HINCRBY', key, 'O', text(-rest))
      local slot_ms = tonumber(redis.call('HGET', key, 'S'))
      if slot_ms > 0 then
        -- It may have been used up to the end: it counts as used now.
        redis.call('HINCRBY', key, 's:' .. text(math.floor(now / slot_ms)), text(rest))
        redis.call('HINCRBY', key, 'U', text(rest))
        redis.call('HDEL', key, field)
      elseif redis.call('HGET', key, 'H') == '1' then
        -- Nothing is in flight at a node that is gone.
        redis.call('HINCRBY', key, 'U', text(-taken))
        redis.call('HDEL', key, field)
      else
        redis.call('HSET', key, field, text(taken) .. ' ' .. text(taken) .. ' ' .. inc)
      end
    end
    freed = freed + 1
  end
end
return freed
