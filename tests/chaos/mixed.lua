-- wrk: searches and documents, each request with a name of its own in its target. Arguments: the name of the run.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  run, made = args[1], 0
end

function request()
  made = made + 1
  local name = "filter_path=-id_w" .. run .. "_" .. number .. "_" .. made
  if made % 5 == 0 then
    local headers = { ["Content-Type"] = "application/json" }
    return wrk.format("POST", "/mixed/_doc?" .. name, headers, '{"text":"three","n":' .. made .. "}")
  end
  return wrk.format("GET", "/mixed/_search?size=1&q=text:one&" .. name)
end
