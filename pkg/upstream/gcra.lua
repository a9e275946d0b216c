-- One bucket for all processes that use a credential: GCRA on this server's clock, in microseconds.
-- KEYS[1]  the theoretical arrival time (TAT) and when it was written
-- ARGV     interval, tolerance of this call, tolerance of the most urgent call, calls to take (0 or 1),
--          how far ahead the TAT is at least by what the caller saw last, how much longer nothing may be sent (0: no pause)
-- Returns  how long to wait before asking again (0: the calls are taken), how far ahead the TAT is now.
local hour = 3600000000
local interval, tolerance, urgent = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local calls, seen, pause = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local tat, at = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
if tat then
  -- Written after now: by a server whose clock is ahead of this one's.
  tat = tat - math.max(at - now, 0)
else
  -- It may have been flushed a moment ago. Nobody knows what was sent, so all counts as sent; the burst fills again soon.
  tat = now + urgent + interval
end
-- A replica that took over may lack the last calls and pauses; the callers have seen them.
tat = math.max(tat, now + seen)
if pause > 0 then
  tat = math.max(tat, now + math.min(pause, hour) + urgent)
end

local wait = math.max(tat - tolerance - now, 0)
if wait == 0 then
  tat = tat + calls * interval
end
-- The key stays for an hour after the last call: what is lost with it is a burst.
redis.call('SET', KEYS[1], string.format('%.0f %.0f', tat, now), 'PX', string.format('%.0f', (tat - now + hour) / 1000))
return {wait, tat - now}
