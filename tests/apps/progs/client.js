// SPDX-License-Identifier: MIT
// client.js ADDR: 30 echoing connections of 300000 bytes each, 200 requests by an agent that keeps
// connections alive, a file of 20 MB sent and got back; prints what was compared
const http = require('http'), net = require('net'), crypto = require('crypto');

const addr = process.argv[2];
const hash = data => crypto.createHash('sha256').update(data).digest('hex');

function echo(n) {
	return new Promise((done, fail) => {
		const data = Buffer.alloc(300000, 'echo' + n), parts = [];
		const s = net.connect(7, addr, () => s.end(data));
		s.setNoDelay(true);
		s.setKeepAlive(true, 1000);
		s.on('data', part => parts.push(part));
		s.on('error', fail);
		s.on('close', () => done(Buffer.concat(parts).equals(data) ? 1 : 0));
	});
}

function ask(agent, method, path, body) {
	return new Promise((done, fail) => {
		const req = http.request({ host: addr, agent, method, path }, res => {
			const parts = [];
			res.on('data', part => parts.push(part));
			res.on('end', () => done([res.statusCode, Buffer.concat(parts)]));
		});
		req.on('error', fail);
		req.end(body);
	});
}

function refused() {
	return new Promise(done => net.connect(9, addr).on('error', e => done(e.code)));
}

(async () => {
	const echoes = await Promise.all([...Array(30).keys()].map(echo));
	const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });
	const got = await Promise.all([...Array(200)].map(() => ask(agent, 'GET', '/small')));
	const big = crypto.randomBytes(20 << 20);
	const back = await ask(agent, 'PUT', '/', big);
	const none = await ask(agent, 'GET', '/none');
	agent.destroy();
	console.log(echoes.reduce((a, b) => a + b),
		got.filter(g => g[0] === 200 && g[1].toString() === 'hello\n').length,
		hash(back[1]) === hash(big), none[0], await refused());
})();
