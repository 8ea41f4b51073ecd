// SPDX-License-Identifier: Apache-2.0
// An RFB server of a picture that a test draws, for real viewers to look at.
//
//   pattern_server WIDTH HEIGHT [vnc PASSWORD] [users NAME:HASH] [ws] [cert FILE KEY] [anontls]
//
// Listens on two ports of the loopback, one of them for browsers only, and prints
// them: "ports N N". Then takes commands, a line each, and answers "ok": draw KIND
// SEED, web FOLDER, resize WIDTH HEIGHT, scroll N,
// dot N, save FILE.ppm, quit. What viewers type is printed: "key", "move", "point",
// "clipboard".
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>

#include "lib/base/status_macros.h"
#include "lib/host/event_loop.h"
#include "lib/host/socket.h"
#include "lib/rfb/server.h"
#include "lib/rfb/testing/frames.h"
#include "lib/ui/picture.h"

namespace atl::rfb::testing {
namespace {

class Printer final : public Guest {
 public:
  void Key(bool down, uint8_t code, uint32_t keysym) override {
    std::printf("key %d %u %#x\n", down, code, keysym);
    std::fflush(stdout);
  }
  void PointAt(unsigned x, unsigned y, Wheel wheel, uint8_t buttons) override {
    std::printf("point %u %u %d %u\n", x, y, wheel.down, buttons);
    std::fflush(stdout);
  }
  void Move(int dx, int dy, Wheel wheel, uint8_t buttons) override {
    std::printf("move %d %d %d %u\n", dx, dy, wheel.down, buttons);
    std::fflush(stdout);
  }
  void SetClipboard(absl::string_view text) override {
    std::printf("clipboard %s\n", std::string(text).c_str());
    std::fflush(stdout);
  }
  bool Power(PowerAction) override { return false; }
  bool Resize(unsigned, unsigned) override { return false; }
  void Ask(bool) override {}
};

std::string Contents(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

FrameKind KindOf(const std::string& name) {
  return name == "text"    ? FrameKind::kText
         : name == "photo" ? FrameKind::kPhoto
         : name == "noise" ? FrameKind::kNoise
         : name == "solid" ? FrameKind::kSolid
                           : FrameKind::kDesk;
}

unsigned PortOf(const UniqueFd& fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

absl::Status Command(const std::string& line, ui::Surface* surface, Server* server, WebFiles* files,
                     bool* quit) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "draw") {
    std::string kind;
    uint32_t seed = 0;
    words >> kind >> seed;
    Draw(KindOf(kind), seed, surface);
    const ui::Rect all{0, 0, surface->width, surface->height};
    server->Changed(std::span(&all, 1));
  } else if (verb == "resize") {
    unsigned width = 0, height = 0;
    words >> width >> height;
    surface->Resize(width, height);
    Draw(FrameKind::kDesk, 1, surface);
    server->SetPicture(PictureOf(*surface));
  } else if (verb == "scroll") {
    unsigned by = 0;
    words >> by;
    std::memmove(surface->Row(0), surface->Row(by),
                 size_t{surface->width} * (surface->height - by) * 4);
    const ui::Rect all{0, 0, surface->width, surface->height};
    server->Changed(std::span(&all, 1));
  } else if (verb == "dot") {
    uint32_t n = 0;
    words >> n;
    surface->Row(n % surface->height)[n % surface->width] ^= 0xFFFFFF;
    const ui::Rect at{n % surface->width, n % surface->height, 1, 1};
    server->Changed(std::span(&at, 1));
  } else if (verb == "save") {
    std::string path;
    words >> path;
    RETURN_IF_ERROR(ui::WritePicture(*surface, ui::PictureFormatOf(path), path));
  } else if (verb == "web") {
    std::string folder;
    words >> folder;
    ASSIGN_OR_RETURN(std::shared_ptr<const WebFiles> read, LoadWebFiles(folder));
    *files = *read;
  } else if (verb == "quit") {
    *quit = true;
  } else {
    return absl::InvalidArgumentError("unknown command");
  }
  return absl::OkStatus();
}

absl::Status Run(int argc, char** argv) {
  ui::Surface surface;
  surface.Resize(static_cast<unsigned>(std::atoi(argv[1])),
                 static_cast<unsigned>(std::atoi(argv[2])));
  Draw(FrameKind::kDesk, 1, &surface);
  ServerOptions options;
  bool web = false;
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "vnc") {
      options.access.auth = Auth::kVnc;
      options.access.passwords = {MakeVncPassword(argv[++i], false)};
    } else if (word == "users") {
      options.access.auth = Auth::kPlain;
      ASSIGN_OR_RETURN(options.access.users, ParseUserFile(argv[++i]));
    } else if (word == "ws") {
      web = true;
    } else if (word == "cert") {
      ASSIGN_OR_RETURN(options.access.tls, LoadTls({.certificate = Contents(argv[i + 1]),
                                                    .key = Contents(argv[i + 2])}));
      options.access.tls_required = true;
      i += 2;
    } else if (word == "anontls") {
      ASSIGN_OR_RETURN(options.access.tls, LoadTls({}));
      options.access.tls_required = true;
    }
  }
  options.encoder_threads = 1;
  options.log = [](absl::string_view line) {
    std::fprintf(stderr, "%s\n", std::string(line).c_str());
  };
  ASSIGN_OR_RETURN(UniqueFd fd, host::ListenLoopback("localhost", 0));
  ASSIGN_OR_RETURN(UniqueFd web_fd, host::ListenLoopback("localhost", 0));
  const unsigned port = PortOf(fd), web_port = PortOf(web_fd);
  auto files = std::make_shared<WebFiles>();
  options.web = files;
  ASSIGN_OR_RETURN(std::unique_ptr<host::EventLoop> loop, host::EventLoop::Create());
  Printer guest;
  std::vector<Listener> listeners;
  listeners.push_back({.fd = std::move(fd), .name = "test", .websocket = web});
  listeners.push_back({.fd = std::move(web_fd), .name = "web", .http_only = true});
  ASSIGN_OR_RETURN(std::unique_ptr<Server> server,
                   Server::Create(loop.get(), &guest, std::move(options), std::move(listeners)));
  server->SetPicture(PictureOf(surface));
  std::printf("ports %u %u\n", port, web_port);
  std::fflush(stdout);
  std::string input;
  ASSIGN_OR_RETURN(
      const std::unique_ptr<host::FdWatch> watch, loop->Watch(STDIN_FILENO, EPOLLIN, [&](uint32_t) {
        char buffer[4096];
        const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
        if (n <= 0) {
          loop->Quit();
          return;
        }
        input.append(buffer, static_cast<size_t>(n));
        for (size_t end; (end = input.find('\n')) != std::string::npos;) {
          bool quit = false;
          const absl::Status status =
              Command(input.substr(0, end), &surface, server.get(), files.get(), &quit);
          input.erase(0, end + 1);
          std::printf("%s\n", status.ok() ? "ok" : status.ToString().c_str());
          std::fflush(stdout);
          if (quit) loop->Quit();
        }
      }));
  loop->Run();
  return absl::OkStatus();
}

}  // namespace
}  // namespace atl::rfb::testing

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const absl::Status status = atl::rfb::testing::Run(argc, argv);
  if (!status.ok()) std::cerr << "pattern_server: " << status << "\n";
  return status.ok() ? 0 : 1;
}
