// SPDX-License-Identifier: MIT
// server.js ADDR: http on port 80 (files of the working directory), echo by net on port 7
const http = require('http'), fs = require('fs'), net = require('net');

http.createServer((req, res) => {
	if (req.method === 'PUT') {
		req.pipe(res);
		return;
	}
	const file = fs.createReadStream('.' + req.url);
	file.on('error', () => {
		res.statusCode = 404;
		res.end();
	});
	file.pipe(res);
}).listen(80, process.argv[2]);
net.createServer({ allowHalfOpen: true }, s => s.pipe(s)).listen(7, process.argv[2]);
process.on('SIGTERM', () => process.exit(0));
