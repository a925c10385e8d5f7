/*
 * A milter that does nothing, asked about as little as a filter of recipients can be: it hears RCPT and the
 * end of the message, and declines every other event while negotiating.
 *
 * usage: lean SOCKET      SOCKET as libmilter spells it, e.g. unix:/tmp/lean.sock
 * Ends on SIGTERM. Built and driven by benches/run.
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <sysexits.h>

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long reserved2,
			     unsigned long reserved3, unsigned long *wanted_actions, unsigned long *wanted_steps,
			     unsigned long *wanted2, unsigned long *wanted3)
{
	const unsigned long declined = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NODATA | SMFIP_NOUNKNOWN |
				       SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NOBODY;

	(void)ctx, (void)actions, (void)reserved2, (void)reserved3;
	*wanted_actions = SMFIF_DELRCPT;
	*wanted_steps = steps & declined;
	*wanted2 = *wanted3 = 0;
	return SMFIS_CONTINUE;
}

static sfsistat on_recipient(SMFICTX *ctx, char **arguments)
{
	(void)ctx, (void)arguments;
	return SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc lean = {
		.xxfi_name = "lean",
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_DELRCPT,
		.xxfi_envrcpt = on_recipient,
		.xxfi_eom = on_end,
		.xxfi_negotiate = on_negotiate,
	};

	if (argc != 2) {
		fprintf(stderr, "usage: lean SOCKET\n");
		return EX_USAGE;
	}
	if (smfi_register(lean) != MI_SUCCESS || smfi_setconn(argv[1]) != MI_SUCCESS ||
	    smfi_setbacklog(1024) != MI_SUCCESS || smfi_opensocket(true) != MI_SUCCESS)
		return EX_UNAVAILABLE;
	return smfi_main() == MI_SUCCESS ? EX_OK : EX_SOFTWARE;
}
