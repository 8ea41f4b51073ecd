// SPDX-License-Identifier: Apache-2.0
// For a Linux guest: tray open|close|status DEVICE. Moves a CD drive's tray or
// says how it is.
#include <fcntl.h>
#include <limits.h>
#include <linux/cdrom.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int fd = open(argv[2], O_RDONLY | O_NONBLOCK);
  if (fd < 0) {
    perror(argv[2]);
    return 1;
  }
  int result = 0;
  if (strcmp(argv[1], "open") == 0) {
    result = ioctl(fd, CDROMEJECT);
  } else if (strcmp(argv[1], "close") == 0) {
    result = ioctl(fd, CDROMCLOSETRAY);
  } else {
    const char* const names[] = {"no information", "no disc", "tray open", "not ready", "disc"};
    result = ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT);
    if (result >= 0 && result < 5) printf("%s\n", names[result]);
  }
  if (result < 0) perror(argv[1]);
  close(fd);
  return result < 0 ? 1 : 0;
}
