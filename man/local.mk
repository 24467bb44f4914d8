dist_man_MANS += \
	man/postrider-sandbox.1 \
	man/postrider.1 \
	man/postrider.conf.5 \
	man/postriderd.8
