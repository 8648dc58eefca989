// SPDX-License-Identifier: MIT
// EchoClient.java blocking|nio ADDR: 20 connections, 1 MB each there and back, compared; a read that
// times out; a connect that is refused. Prints what it found.
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.*;
import java.nio.channels.*;
import java.util.*;
import java.util.concurrent.*;

public class EchoClient {
	static final int LEN = 1000000;

	static byte[] data(int n) {
		byte[] d = new byte[LEN];
		new Random(n).nextBytes(d);
		return d;
	}

	static boolean blocking(InetSocketAddress to, int n) throws Exception {
		try (Socket s = new Socket()) {
			s.setTcpNoDelay(true);
			s.setKeepAlive(true);
			s.setSoTimeout(20000);
			s.connect(to, 10000);
			byte[] d = data(n);
			Thread t = new Thread(() -> {
				try {
					s.getOutputStream().write(d);
					s.shutdownOutput();
				} catch (IOException e) {
					System.err.println(e);
				}
			});
			t.start();
			boolean same = Arrays.equals(s.getInputStream().readAllBytes(), d);
			t.join();
			return same;
		}
	}

	static boolean nio(InetSocketAddress to, int n) throws Exception {
		byte[] d = data(n);
		ByteBuffer out = ByteBuffer.wrap(d), in = ByteBuffer.allocate(LEN + 1);
		try (Selector sel = Selector.open(); SocketChannel c = SocketChannel.open()) {
			c.configureBlocking(false);
			c.connect(to);
			c.register(sel, SelectionKey.OP_CONNECT);
			for (boolean eof = false; !eof;) {
				if (sel.select(20000) == 0)
					return false;
				sel.selectedKeys().clear();
				SelectionKey key = c.keyFor(sel);
				if (key.isConnectable() && c.finishConnect())
					key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
				if (key.isWritable()) {
					c.write(out);
					if (!out.hasRemaining()) {
						c.shutdownOutput();
						key.interestOps(SelectionKey.OP_READ);
					}
				}
				if (key.isReadable())
					eof = c.read(in) < 0;
			}
		}
		return in.position() == LEN && Arrays.equals(Arrays.copyOf(in.array(), LEN), d);
	}

	static String timeout(InetSocketAddress to) throws Exception {
		try (Socket s = new Socket()) {
			s.connect(to);
			s.setSoTimeout(50);
			return "" + s.getInputStream().read();
		} catch (SocketTimeoutException e) {
			return "timed-out";
		}
	}

	static String refused(InetAddress addr) {
		try (Socket s = new Socket(addr, 9)) {
			return "connected";
		} catch (IOException e) {
			return e.getMessage();
		}
	}

	public static void main(String[] args) throws Exception {
		InetSocketAddress to = new InetSocketAddress(InetAddress.getByName(args[1]), 7);
		ExecutorService pool = Executors.newFixedThreadPool(20);
		List<Future<Boolean>> all = new ArrayList<>();
		int good = 0;

		for (int i = 0; i < 20; i++) {
			int n = i;
			all.add(pool.submit(() -> args[0].equals("nio") ? nio(to, n) : blocking(to, n)));
		}
		for (Future<Boolean> f : all)
			good += f.get() ? 1 : 0;
		pool.shutdown();
		System.out.println(good + " " + timeout(to) + " " + refused(to.getAddress()));
	}
}
