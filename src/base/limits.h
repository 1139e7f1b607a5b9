// Every fixed bound of berth, with its reason. Bounds that a user may move are settings
// (config/settings.h) and only have their defaults there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth {

// A key is a name in a config file, a path and a metric label (DESIGN section 1).
inline constexpr size_t kMaxKeyBytes = 64;
// A URL key: the longest host name (253), scheme, port, brackets; or a socket path.
inline constexpr size_t kMaxUrlKeyBytes = 300;
// One session frame; a frame is one SEQPACKET message (DESIGN section 3).
inline constexpr size_t kMaxFrameBytes = 64 * 1024;
// Connections in one request: below the kernel's SCM_MAX_FD (253) with room to spare.
inline constexpr uint32_t kMaxBatch = 64;
// A session's name, as it says it in Hello; shown to people only.
inline constexpr size_t kMaxSessionNameBytes = 64;
// W3C traceparent, version 00, is 55 bytes; later versions may be longer.
inline constexpr size_t kMaxTraceparentBytes = 128;
// Requests of one session that wait. Beyond it the client is flooding, not waiting.
inline constexpr uint32_t kMaxWaitersPerSession = 256;
// Leases of one session: a process has few more sockets than its own fd limit of 1,024.
inline constexpr uint32_t kMaxLeasesPerSession = 4096;
// Frames that wait for a client that does not read, beyond what its socket buffer holds.
inline constexpr size_t kMaxOutboxFrames = 256;
// Frames read from one session in one turn of the loop, so that none starves the others.
inline constexpr size_t kMaxFramesPerTurn = 16;
// Frames thrown away behind a Goodbye: more than a socket buffer holds of the smallest.
inline constexpr size_t kMaxFramesDrained = 1024;
// Bytes that a relay reads in one turn of the loop, and keeps where the other side takes no more:
// so bulk delays nobody, a system call costs little beside copying so much, and 1,000 stalled
// relays keep 64 MB each way.
inline constexpr size_t kMaxRelayedBytes = 64 * 1024;
// Connections accepted in one turn of the loop, for the same reason.
inline constexpr int kMaxAcceptsPerTurn = 64;
// Who has connected and is not accepted yet: as net.core.somaxconn has been since Linux 5.4.
inline constexpr int kListenBacklog = 4096;
// Pools that dynamic keys may make; the least recently used empty one makes room.
inline constexpr size_t kMaxDynamicPools = 1000;
// Longest error text sent to a client: shown in a terminal or a log line.
inline constexpr size_t kMaxMessageBytes = 1024;
// Of a call's path in the access log; methods of gRPC have far shorter ones.
inline constexpr size_t kMaxLoggedPath = 512;
// Keys in one KeyList frame: 64 bytes each and the frame's bound.
inline constexpr size_t kMaxKeysPerFrame = 512;
// Connections to the control socket. Few programs administer a daemon; each may make many calls.
inline constexpr size_t kMaxControlConnections = 256;
// Of one user: a quarter, so that one program that leaks them keeps nobody else out.
inline constexpr size_t kMaxControlConnectionsPerUser = 64;
// Of administrators, beyond those: two descriptors each, of fd_reserve.
inline constexpr size_t kMaxControlConnectionsOfReserve = 4;
// Calls on the control socket that wait for the loop, or for their answer to be sent on.
inline constexpr size_t kMaxControlCalls = 64;
// Orders that take their time, such as a drain: apart from those calls, so that who waits for one
// keeps nobody from changing what it waits for. berthctl has a connection for each.
inline constexpr size_t kMaxLateOrders = kMaxControlConnections;
// Those who follow events over the control socket, and the events that wait for each of them: 5 MB,
// and 0.1 s where leases are busiest.
inline constexpr size_t kMaxWatches = 16;
inline constexpr size_t kMaxEventsPerWatch = 16'384;
// Events that are remembered for who asks later.
inline constexpr size_t kMaxRecentEvents = 1000;
// Calls of berth.v1.Leases that wait: each takes some 10 KB of what gRPC may hold.
inline constexpr size_t kMaxLeaseCalls = 2048;
// Of one user: a quarter, so that one program that waits keeps nobody else out.
inline constexpr size_t kMaxLeaseCallsPerUser = 512;
// Calls on one control connection at once: as many as a user may have waiting, and some more, so
// that what ends the waiting (a Release) does not wait behind them.
inline constexpr int kMaxCallsPerConnection = 640;
// One message to the control socket: the longest of them is a key and a few numbers.
inline constexpr size_t kMaxControlMessageBytes = 64 * 1024;
// Rows in one answer to the administrator: at 4 KB each, below the 4 MB that gRPC clients accept.
inline constexpr size_t kMaxRowsPerPage = 1000;
// Records looked at for one page: what bounds its time on the loop, however few of them match.
inline constexpr size_t kMaxRecordsPerPage = 16384;
// Endpoints of a pool: the choice of the next looks at each.
inline constexpr size_t kMaxEndpoints = 64;
// Addresses of a channel pool: each of them gets a channel, and a choice may look at all.
inline constexpr size_t kMaxAddresses = 64;
// Streams that a channel is taken to carry until its server says how many (RFC 9113, section 6.5.2,
// recommends that no fewer be allowed).
inline constexpr uint32_t kAssumedStreams = 100;
// Times that a stream is carried anew since no server had seen it: a server that refuses each one
// is not to be asked for ever.
inline constexpr uint8_t kMaxUnseenRetries = 5;

// Listen sockets of a pool: one for each place where its programs look for the server.
inline constexpr size_t kMaxListenSockets = 16;

// Attempts of one dial at a time, 250 ms apart: each has two seconds before the next needs its
// place.
inline constexpr size_t kMaxDialAttempts = 8;
// Names whose addresses are remembered though nothing is connected to them: one for each pool that
// a dynamic key may make.
inline constexpr size_t kMaxIdleNames = kMaxDynamicPools;
// Name servers of former versions of resolv.conf that still have questions to answer. One that is
// rewritten faster than that is followed when some have ended.
inline constexpr size_t kMaxDnsChannels = 4;

// Leases named when a refusal explains itself.
inline constexpr size_t kMaxHoldersShown = 5;
// Steps of one list, greeting, login, check or reset: the longest logins take about ten.
inline constexpr size_t kMaxSteps = 32;
// Bytes that a step sends or expects, or of its pattern: a request, not a transfer.
inline constexpr size_t kMaxStepBytes = 4096;
// A secret: one page, which holds every password, token and key that a login sends as it is.
inline constexpr size_t kMaxSecretBytes = 4096;
// A compiled pattern with its cache; the patterns of a thousand pools stay below a gigabyte.
inline constexpr size_t kMaxPatternMemory = 1024 * 1024;
// A line that a step expects: 16 times what SMTP allows.
inline constexpr size_t kMaxStepLineBytes = 8 * 1024;
// What a server says before what a step waits for, or before it is asked: welcomes are shorter.
inline constexpr size_t kMaxStepInputBytes = 64 * 1024;
// A match that a step looks for in that: what is looked at again whenever bytes come.
inline constexpr size_t kMaxStepMatchBytes = 1024;
// Bytes of a server's answer in the text of a failure.
inline constexpr size_t kMaxStepBytesShown = 100;
// The user at a proxy: RFC 1929 counts it in a byte.
inline constexpr size_t kMaxProxyUserBytes = 255;
// Its password: for SOCKS5 the same; for HTTP what, with the user and in base64, is still a secret.
inline constexpr size_t kMaxSocksPasswordBytes = 255;
inline constexpr size_t kMaxHttpPasswordBytes = 2048;
// What an HTTP proxy says before the server behind it is heard: its headers.
inline constexpr size_t kMaxProxyReplyBytes = 8 * 1024;
// Words of a dial_command or login_command, and bytes of each: a command line, not a program.
inline constexpr size_t kMaxCommandWords = 64;
inline constexpr size_t kMaxCommandWordBytes = 4096;
// Programs of theirs that run at once, over all pools: each is a process of perhaps 10 MB, and more
// than a few on a processor only slow each other down.
inline constexpr size_t kMostCommands = 64;
// Of what such a program writes to standard error: its end, of which the last line is told.
inline constexpr size_t kMaxComplaintBytes = 1024;
inline constexpr size_t kMaxComplaintBytesShown = 200;

// A record of TLS 1.2 on the wire: header, content, and the most that a cipher may add (RFC 5246,
// section 6.2).
inline constexpr size_t kMaxTlsRecordBytes = 5 + 16 * 1024 + 2048;
// A file of certificates: the authorities of a whole system take 250 KB.
inline constexpr size_t kMaxCertificateFileBytes = 4 * 1024 * 1024;
// Files of a folder of authorities, and of other things in it: Debian's has some 300 and as many
// links.
inline constexpr size_t kMaxTrustFolderFiles = 4096;
// A private key's file: one of RSA with 16,384 bits takes 13 KB, and certificates may stand with
// it.
inline constexpr size_t kMaxPrivateKeyBytes = 64 * 1024;
// Sessions with servers that a pool may resume: one for each of its endpoints.
inline constexpr size_t kMaxTlsTickets = kMaxEndpoints;
// Names of a certificate in the text of a failure; some have a hundred.
inline constexpr size_t kMaxCertificateNamesShown = 5;

// HTTP/2: bytes that one connection has framed while its socket takes none. Beyond it frames wait
// unmade, so that resets and trailers need not queue behind more than a socket buffer of data.
inline constexpr size_t kMaxHttp2OutputBytes = 256 * 1024;
// Frames that ask for work and carry nothing, until tick(): at 5 microseconds each, a twentieth of
// the loop.
inline constexpr uint32_t kMaxHttp2Unrest = 10'000;
// Answers that wait: to SETTINGS and PING, and to streams that are refused. What may come in one
// turn has room: a client that begins five thousand calls before it knows how many it may.
inline constexpr size_t kMaxHttp2AnswerBytes = 64 * 1024;
// CONTINUATION frames of one header block, besides those that max_header_bytes takes if they are
// full.
inline constexpr size_t kMaxHttp2Continuations = 8;
// A header block that is sent: more than any server accepts.
inline constexpr size_t kMaxHttp2HeaderBytes = 1024 * 1024;
// Memory of one connection's compressors, whose tables and longest texts it is; and of one of its
// streams, besides headers and data.
inline constexpr size_t kMaxHttp2SessionBytes = 1024 * 1024;
inline constexpr size_t kMaxHttp2StreamBytes = 1024;

// A message that a channel pool compresses: it is held until it is whole, and a mebibyte takes gzip
// ten to twenty milliseconds, during which the loop does nothing else.
inline constexpr size_t kMaxCompressedMessageBytes = 1024 * 1024;
// A message that is decompressed for a client, before and after: what gRPC's clients take unless
// they are told otherwise.
inline constexpr size_t kMaxDecodedMessageBytes = 4 * 1024 * 1024;
// A message that is compressed or decompressed on the loop, which takes a quarter of a millisecond
// at the most: what comes, and what becomes of it. Workers do it with longer ones, so many at a
// time that some are left for handshakes and look-ups.
inline constexpr size_t kMaxLoopMessageBytes = 16 * 1024;
inline constexpr size_t kMaxLoopDecodedBytes = 64 * 1024;
inline constexpr int kMaxWorkingRecoders = 2;
// Messages of one client that are held until they are whole, and decompressed ones that wait for it
// beyond its streams' buffers, each way: 16 of the longest, or a thousand of those that are usual.
inline constexpr size_t kMaxHeldMessageBytes = 64 * 1024 * 1024;

// Bytes read from one HTTP/2 connection in a turn of the loop: what a server or a client sends in a
// burst is one system call, and some hundred microseconds of work at the most.
inline constexpr size_t kMaxHttp2ReadBytes = 256 * 1024;
// And sent to one: a peer that reads as fast as we send holds up nobody.
inline constexpr size_t kMaxHttp2SentBytes = 1024 * 1024;

}  // namespace berth
