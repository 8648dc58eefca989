// SPDX-License-Identifier: MIT
// Echo.java blocking|nio ADDR: echo on port 7; blocking = a thread per connection, nio = a selector
import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;

public class Echo {
	static void blocking(InetAddress addr) throws IOException {
		ServerSocket ls = new ServerSocket(7, 50, addr);
		for (;;) {
			Socket s = ls.accept();
			new Thread(() -> {
				try (s) {
					s.getInputStream().transferTo(s.getOutputStream());
				} catch (IOException e) {
					System.err.println(e);
				}
			}).start();
		}
	}

	/** One turn of a connection: what was read is written before more is read. */
	static void turn(SelectionKey key) throws IOException {
		SocketChannel c = (SocketChannel)key.channel();
		ByteBuffer buf = (ByteBuffer)key.attachment();

		if (key.isReadable() && c.read(buf) < 0)
			key.attach(buf = (ByteBuffer)buf.limit(buf.position()));
		boolean eof = key.isReadable() && buf.limit() < buf.capacity();
		buf.flip();
		c.write(buf);
		boolean left = buf.hasRemaining();
		buf.compact();
		if (eof && !left)
			c.close();
		else
			key.interestOps(left ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
	}

	static void nio(InetAddress addr) throws IOException {
		Selector sel = Selector.open();
		ServerSocketChannel ls = ServerSocketChannel.open();
		ls.bind(new InetSocketAddress(addr, 7));
		ls.configureBlocking(false);
		ls.register(sel, SelectionKey.OP_ACCEPT);
		for (;;) {
			sel.select();
			for (SelectionKey key : sel.selectedKeys()) {
				if (key.isAcceptable()) {
					SocketChannel c = ls.accept();
					c.configureBlocking(false);
					c.register(sel, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
				} else {
					turn(key);
				}
			}
			sel.selectedKeys().clear();
		}
	}

	public static void main(String[] args) throws IOException {
		InetAddress addr = InetAddress.getByName(args[1]);

		if (args[0].equals("nio"))
			nio(addr);
		else
			blocking(addr);
	}
}
