"""The delivery, but a tracker that failed rests for two seconds instead of half a minute."""

from greenlit.trackers import delivery

if __name__ == "__main__":
    delivery.RETRY_S = 2.0
    delivery.main()
