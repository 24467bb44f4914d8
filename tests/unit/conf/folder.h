/*
 * folder.h - a temporary folder of one test, and configs loaded from it.
 *
 * In texts and expectations "@" alone in a word stands for that folder:
 * "@/postrider.conf". Each config gets a user that exists, no TLS listener and a
 * trusted network, unless it says otherwise.
 */
#ifndef UNIT_CONF_FOLDER_H
#define UNIT_CONF_FOLDER_H

#include "conf/conf.h"

void folder_make(void);
void folder_remove(void); /* with all in it */
const char *folder_path(void);

/* Writes a file into the folder; "@/" in the text becomes the folder's path. */
void folder_write(const char *name, const char *text);

/* What a config that stands for nothing else begins with: one line. */
const char *folder_base(void);

/* Loads the file; what it says, with the folder's path as "@", is in folder_said(). */
struct conf *folder_load(const char *name);
const char *folder_said(void);

/* Writes base and text as postrider.conf and loads it; fails the test if that fails or says a word.
 */
struct conf *folder_conf(const char *text);

#endif
