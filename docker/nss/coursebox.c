/* A name for whoever has none: the user and the groups of the asking process itself, and nobody else.

   `docker exec --user 4242`, and every process that `start` has not prepared, has a uid that no file knows. bash, ssh,
   git, getpass and torch.compile fail then. This service for /etc/nsswitch.conf comes behind "files" and answers

       getpwuid(4242)        uid-4242, to a process of uid 4242 only
       getpwnam("uid-4242")  the same
       getgrgid(4242)        gid-4242, to a process that is in group 4242
       getgrnam("gid-4242")  the same

   It says nothing to root and nothing about others. So useradd, chown and su see no more than the files say. Debian's
   libnss-unknown answers for every number, and `useradd --uid 4242` fails then, for the uid is "not unique".

   https://www.gnu.org/software/libc/manual/html_node/NSS-Module-Function-Internals.html */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef HOME
#define HOME "/home/student"
#endif

/* Writes text with a number behind it to *place, moves *place behind it; NULL where there is no room. */
static char *put(char **place, char *end, const char *text, const char *number) {
    size_t length = strlen(text) + strlen(number) + 1;
    char *begin = *place;
    if (length > (size_t)(end - begin))
        return NULL;
    strcpy(begin, text);
    strcat(begin, number);
    *place += length;
    return begin;
}

static enum nss_status no_room(int *error) {
    *error = ERANGE; /* glibc asks again with more room */
    return NSS_STATUS_TRYAGAIN;
}

static enum nss_status unknown(int *error) {
    *error = ENOENT;
    return NSS_STATUS_NOTFOUND;
}

static int in_group(gid_t gid) {
    gid_t groups[256];
    int count = getgroups(256, groups);
    if (gid == getgid())
        return 1;
    while (count-- > 0)
        if (groups[count] == gid)
            return 1;
    return 0;
}

enum nss_status _nss_coursebox_getpwuid_r(uid_t uid, struct passwd *found, char *room, size_t size, int *error) {
    char *end = room + size, number[16];
    const char *home = secure_getenv("HOME");
    if (uid == 0 || uid != getuid())
        return unknown(error);
    if (home == NULL || home[0] != '/')
        home = HOME;
    snprintf(number, sizeof number, "%u", (unsigned)uid);
    found->pw_uid = uid;
    found->pw_gid = getgid();
    /* "*": no password fits */
    if (!(found->pw_name = put(&room, end, "uid-", number)) || !(found->pw_passwd = put(&room, end, "*", "")) ||
        !(found->pw_gecos = put(&room, end, "", "")) || !(found->pw_dir = put(&room, end, home, "")) ||
        !(found->pw_shell = put(&room, end, "/bin/bash", "")))
        return no_room(error);
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_coursebox_getpwnam_r(const char *name, struct passwd *found, char *room, size_t size, int *error) {
    char own[32];
    snprintf(own, sizeof own, "uid-%u", (unsigned)getuid());
    return strcmp(name, own) ? unknown(error) : _nss_coursebox_getpwuid_r(getuid(), found, room, size, error);
}

enum nss_status _nss_coursebox_getgrgid_r(gid_t gid, struct group *found, char *room, size_t size, int *error) {
    char *end = room + size, number[16];
    size_t before = -(size_t)room % sizeof(char *); /* a list of pointers wants an even place */
    if (getuid() == 0 || gid == 0 || !in_group(gid))
        return unknown(error);
    if (before + sizeof(char *) > size)
        return no_room(error);
    found->gr_gid = gid;
    found->gr_mem = (char **)(room + before);
    found->gr_mem[0] = NULL;
    room += before + sizeof(char *);
    snprintf(number, sizeof number, "%u", (unsigned)gid);
    if (!(found->gr_name = put(&room, end, "gid-", number)) || !(found->gr_passwd = put(&room, end, "*", "")))
        return no_room(error);
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_coursebox_getgrnam_r(const char *name, struct group *found, char *room, size_t size, int *error) {
    char own[32];
    char *rest;
    unsigned long gid = strncmp(name, "gid-", 4) ? 0 : strtoul(name + 4, &rest, 10);
    snprintf(own, sizeof own, "gid-%lu", gid);
    return strcmp(name, own) || gid > UINT_MAX ? unknown(error) : _nss_coursebox_getgrgid_r((gid_t)gid, found, room, size, error);
}
