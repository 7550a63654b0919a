-- One POST, always the same bytes; with a number of keys, that many requests in turn, each with another bearer.
-- wrk … URL -- BODY_FILE KEYS HEADER VALUE HEADER VALUE …
-- Prints one line "RESULT {json}" when done.

local requests = {}
local turn = 0

function init(args)
   local file = assert(io.open(args[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   for i = 3, #args, 2 do
      wrk.headers[args[i]] = args[i + 1]
   end
   for i = 1, tonumber(args[2]) do
      wrk.headers["Authorization"] = string.format("Bearer sk-%08x%024x", i * 2654435761 % 4294967296, i)
      requests[i] = wrk.format()
   end
   if #requests > 0 then
      request = function()
         turn = turn % #requests + 1
         return requests[turn]
      end
   end
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests":%d,"seconds":%.6f,"bytes":%d,"refused":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
