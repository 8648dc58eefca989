# SPDX-License-Identifier: MIT
# echo.rb server|client ADDR: a thread per connection; blocking, non-blocking and buffered reads
require 'socket'

addr = ARGV[1]
if ARGV[0] == 'server'
  server = TCPServer.new(addr, 7)
  loop do
    Thread.new(server.accept) do |s|
      IO.copy_stream(s, s)
      s.close
    end
  end
end

good = (1..20).map do |n|
  Thread.new do
    data = "ruby#{n}" * 100_000
    s = TCPSocket.new(addr, 7)
    sender = Thread.new { s.write(data); s.close_write }
    got = s.read
    sender.join
    s.close
    got == data
  end
end.count(&:value)
s = TCPSocket.new(addr, 7)
begin
  s.read_nonblock(1)
rescue IO::WaitReadable
  waited = IO.select([s], nil, nil, 0.05).nil?
end
s.puts 'line'
line = s.gets
begin
  TCPSocket.new(addr, 9)
rescue SystemCallError => e
  refused = e.class.name
end
puts "#{good} #{waited} #{line.chomp} #{refused}"
