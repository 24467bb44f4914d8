/*
 * sim_peer.h - a session of a remote host: SMTP as its character has it.
 *
 * It records what it took (and whether the daemon was told), and every final
 * refusal, in the ground truth of sim_mail.h.
 */
#ifndef SIM_SIM_PEER_H
#define SIM_SIM_PEER_H

#include "sim/sim_io.h"
#include "sim/sim_net.h"

/* Said of the command, so it must decide nothing about a message. */
#define SIM_NO_BDAT "what is BDAT?"

const struct sim_party *sim_peer_party(void);
void *sim_peer_new(struct sim_host *h);
void sim_peer_joined(void *arg, struct sim_conn *c);

#endif
