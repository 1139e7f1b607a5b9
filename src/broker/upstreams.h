// Upstreams: the sockets behind the pools' connections, found by ConnectionId.
//
// Loop thread only. Owns every pooled socket; the table of the pools knows nothing of them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/ids.h"
#include "base/list.h"
#include "base/unique_fd.h"
#include "broker/dialogues.h"
#include "net/address.h"
#include "net/layer.h"
#include "net/socket_options.h"
#include "net/socket_state.h"
#include "net/tls_stream.h"
#include "wire/tls_handshake.h"

namespace berth::broker {

struct KnownName;  // broker/resolver.h

struct Upstream {
  ConnectionId id;
  UniqueFd fd;
  net::SocketAddress peer;
  std::shared_ptr<const net::DialOptions> options;  // those of its dial
  uint64_t inspected = 0;      // when it came back; see PoolDriver::new_moment()
  bool handed_out = false;     // a lessee has, or had, a duplicate
  bool used = false;           // somebody had it, so that what the server said first is read
  bool watched = false;        // in the idle watch
  bool watch_pending = false;  // to be watched soon
  KnownName* name = nullptr;   // by which it was found, if by a name
  ListLink<Upstream> name_link;

  std::shared_ptr<const std::vector<Stage>> opening;
  std::shared_ptr<wire::TlsSource> tls_source;    // for its opening, whatever a reload brings
  size_t opened = 0;                              // how many of its stages are over, or under way
  std::shared_ptr<wire::TlsHandshake> handshake;  // under way
  std::unique_ptr<net::TlsStream> tls;            // the records are berthd's
  net::Layer layer = net::Layer::none;            // or the kernel's

  // Whoever sends on it may have to wait for others who hold it (net/ktls.h).
  bool contended() const { return handed_out && layer == net::Layer::kernel_tls; }
  net::Stream stream() const { return {fd.get(), tls.get(), contended()}; }
  net::Peek peek() const { return tls != nullptr ? tls->peek() : net::peek(fd.get(), layer); }

  // How its peer is known to be the one dialled.
  net::PeerProof proof() const {
    return options->pin && peer.is_tcp() ? net::PeerProof::pinned : net::PeerProof::compare;
  }
};

class Upstreams {
 public:
  Upstream& insert(ConnectionId id) {
    if (slots_.size() <= id.index()) slots_.resize(id.index() + 1);
    slots_[id.index()] = std::make_unique<Upstream>();
    slots_[id.index()]->id = id;
    return *slots_[id.index()];
  }

  // nullptr if that connection has no socket, or is gone.
  Upstream* find(ConnectionId id) {
    if (id.index() >= slots_.size()) return nullptr;
    Upstream* upstream = slots_[id.index()].get();
    return upstream != nullptr && upstream->id == id ? upstream : nullptr;
  }

  // Empty if there is none.
  std::unique_ptr<Upstream> take(ConnectionId id) {
    return find(id) != nullptr ? std::move(slots_[id.index()]) : nullptr;
  }

 private:
  std::vector<std::unique_ptr<Upstream>> slots_;
};

}  // namespace berth::broker
