"""The models beside peers on the recorded corpus `data/lab`, each device left out in turn."""
