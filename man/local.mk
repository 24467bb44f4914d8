dist_man_MANS += \
	man/postrider-queue.5 \
	man/postrider-sandbox.1 \
	man/postrider.1 \
	man/postrider.conf.5 \
	man/postriderd.8
